"""What a check has found so far."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Findings:
    """What a check found: the mistakes, the keys they are about, and the command line as it was meant."""

    sweep: bool
    mistakes: list[str] = field(default_factory=list)
    suspects: set[str] = field(default_factory=set)
    meant: list[list[str]] = field(default_factory=list)  # for each word its values, one unless it is a sweep
    several: dict[str, str] = field(default_factory=dict)  # words with several values, and what else they may mean
    notes: list[str] = field(default_factory=list)  # what is no mistake, and may not be what was meant
    sound_files: dict[str, bool] = field(default_factory=dict)  # of files, and of sets of words: is all as it should be

    @property
    def first(self) -> list[str]:
        """The words of the first job."""
        return [values[0] for values in self.meant]

    def add(self, line: str, *suspects: str) -> None:
        if line not in self.mistakes:
            self.mistakes.append(line)
        self.suspects.update(suspects)
