"""Flags that halve what compiling takes; tests compile most programs to run them once."""

QUICK = '--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false'
EIGHT_DEVICES = '--xla_force_host_platform_device_count=8'
