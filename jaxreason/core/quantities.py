"""Large numbers for people: three digits and an SI prefix."""

_PREFIXES = ((1e24, 'Y'), (1e21, 'Z'), (1e18, 'E'), (1e15, 'P'), (1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k'))


def quantity(value: float, unit: str = '') -> str:
    """Writes 14413175000 as `14.4 G`, with a unit as `14.4 GFLOPs`."""
    for size, prefix in _PREFIXES:
        if value >= 0.9995 * size:
            return f'{value / size:#.3g}'.rstrip('.') + f' {prefix}{unit}'
    return f'{value:.3g} {unit}'.rstrip()
