"""What is left out unasked, and counted: hidden files, and the resource forks of macOS."""

_FOLDER_OF_FORKS = "__MACOSX"


def is_hidden(name: str) -> bool:
    """Whether a member or a name in a folder is hidden: `._a.png`, `.DS_Store`, `.git`.

    >>> is_hidden("d/._a.png"), is_hidden("./a.png"), is_hidden("__MACOSX/a.png")
    (True, False, True)
    """
    if "/" not in name:  # asked by the million
        return name.startswith(".") or name == _FOLDER_OF_FORKS
    *folders, last = name.split("/")
    return last.startswith(".") or _FOLDER_OF_FORKS in (*folders, last)
