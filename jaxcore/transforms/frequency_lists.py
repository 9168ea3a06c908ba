"""Which DCT frequencies channel attention looks at: the lists of FcaNet."""

import operator

from jaxcore.transforms._frequency_folds import Pairs


# (u, v) on the 7 x 7 grid, u along the height. "top" is ranked by accuracy on ImageNet;
# "low" and "bottom" are the lowest and the worst. Qin et al., ICCV 2021.
LISTS = {
    "top": (
        "00600114513000324635526553342261",
        "01052020060463526333511242113053",
    ),
    "low": (
        "00110221203401301234501234561234",
        "01012012230043154321065432106543",
    ),
    "bottom": (
        "61332412445146256162243355625536",
        "64466314456522514350311242115333",
    ),
}


def frequency_list(name: str, count: int = 16) -> Pairs:
    """Return the first `count` frequencies of one of the lists of FcaNet.

    Args:
      name: "top" (best first, by accuracy on ImageNet), "low" (lowest first) or
        "bottom" (worst first).
      count: from 1 to 32.

    Returns:
      Pairs `(u, v)` on the 7 x 7 grid of `multi_frequency_statistics`.

    Raises:
      ValueError: if there is no such list or it is not that long.

    Example:
      >>> from jaxcore import transforms
      >>> transforms.frequency_list("top", 4)
      ((0, 0), (0, 1), (6, 0), (0, 5))

    Source: Qin et al., FcaNet: Frequency Channel Attention Networks, ICCV 2021.
    """
    where = "jaxcore.transforms.frequency_list"
    if name not in LISTS:
        known = ", ".join(repr(known) for known in LISTS)
        raise ValueError(f"{where}: `name` must be one of {known}, got {name!r}")
    rows, columns = LISTS[name]
    try:
        number = operator.index(count)
    except TypeError:
        number = 0
    if not 1 <= number <= len(rows):
        raise ValueError(
            f"{where}: `count` must be an integer from 1 to {len(rows)}, got {count!r}"
        )
    pairs = zip(rows[:number], columns[:number], strict=True)
    return tuple((int(u), int(v)) for u, v in pairs)
