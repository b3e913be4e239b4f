"""What of a mail is new, and what it repeats of the mails before.

Mail programs mark a quotation by ``> `` before each line, by a line that names who wrote it
("On ... wrote:", in eight languages), or by the old mail's header lines (Outlook).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_LINES = 10_000
"""Lines that are looked at; what comes after them is taken as new."""

_WRAPPED = 3
"""Lines an attribution may be wrapped over."""

_LONGEST_ATTRIBUTION = 500
_HEADER_LINES = 7

_WROTE = (
    ("On ", " wrote:"),
    ("Le ", " a \u00e9crit :"),
    ("Le ", " a \u00e9crit\u00a0:"),
    ("Le ", " a \u00e9crit:"),
    ("El ", " escribi\u00f3:"),
    ("Il giorno ", " ha scritto:"),
    ("Il ", " ha scritto:"),
    ("Em ", " escreveu:"),
    ("Den ", " skrev:"),
)
_WROTE_WHO = (("Am ", " schrieb "), ("Op ", " schreef "))
_STARTS = tuple(start for start, _ in (*_WROTE, *_WROTE_WHO))
_DATED = re.compile(r"\d{4}-\d\d-\d\d\b[^<>]{0,100}<[^<>\s]{3,254}>:")
_ORIGINAL = re.compile(
    r"-{2,}\s?(?:Original Message|Original Appointment|Urspr\u00fcngliche Nachricht"
    r"|Message d'origine|Message original|Mensaje original|Messaggio originale"
    r"|Mensagem original|Oorspronkelijk bericht)\s?-{2,}",
    re.IGNORECASE,
)
_FORWARD = re.compile(
    r"-{5,}\s?Forwarded message\s?-{5,}|Begin forwarded message:"
    r"|-{5,}\s?Weitergeleitete Nachricht\s?-{5,}|-{5,}\s?Message transf\u00e9r\u00e9\s?-{5,}",
    re.IGNORECASE,
)
_FROM = re.compile(r"\*?(?:From|Von|De|Da|Van|Fra|Fr\u00e5n)\s?:\*?\s?\S", re.IGNORECASE)
_DATE = re.compile(
    r"\*?(?:Sent|Date|Gesendet|Datum|Envoy\u00e9|Enviado|Fecha|Data|Inviato|Verzonden|Skickat)"
    r"(?: (?:le|el|em|am))?\s?:\*?\s?\S",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"\*?(?:To|An|\u00c0|A|Para|Aan|Till|Til|Subject|Betreff|Objet|Asunto|Oggetto|Assunto"
    r"|Onderwerp|\u00c4mne)\s?:\*?(?:\s|$)",
    re.IGNORECASE,
)
_RULE = re.compile(r"[_\u2500-]{8,}")


@dataclass(frozen=True, slots=True)
class SplitText:
    """A mail's text in two. Its representation shows neither.

    Attributes:
        new: What its sender wrote.
        quoted: The rest, attributions included; empty when nothing is quoted.
    """

    new: str
    quoted: str

    def __repr__(self) -> str:
        return f"SplitText({len(self.new)}, {len(self.quoted)})"


def split_quoted(text: str) -> SplitText:
    """Return what is new in a mail and what it quotes; linear in its length.

    Answers between and below quoted lines are new text too. A forwarded mail is not a
    quotation: it is what the sender wants to show.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    new: list[str] = []
    quoted: list[str] = []
    at = 0
    while at < min(len(lines), MOST_LINES):
        line = lines[at].strip()
        if line.startswith(">"):
            quoted.append(lines[at])
            at += 1
            continue
        if _FORWARD.match(line):
            new.extend(lines[at:])
            break
        length = _attribution(lines, at)
        if length and _quote_follows(lines, at + length):
            quoted.extend(lines[at : at + length])
            at += length
            continue
        if length or _ORIGINAL.match(line) or _old_headers(lines, at):
            if not length and not quoted and not "".join(new).strip():
                # Nothing above: somebody forwards, Outlook marks that no other way.
                return SplitText(text.strip(), "")
            quoted.extend(lines[at:])
            break
        new.append(lines[at])
        at += 1
    else:
        new.extend(lines[MOST_LINES:])
    return SplitText(_tidy(new), _tidy(quoted))


def _attribution(lines: list[str], at: int) -> int:
    """Return how many lines an attribution that begins here has; 0 for none."""
    first = lines[at].strip()
    if not first or len(first) > _LONGEST_ATTRIBUTION:
        return 0
    if _DATED.fullmatch(first):
        return 1
    if not f"{first} ".startswith(_STARTS):
        return 0
    words = first
    for length in range(1, _WRAPPED + 1):
        if len(words) > _LONGEST_ATTRIBUTION:
            return 0
        if _is_attribution(words):
            return length
        if at + length >= len(lines) or not lines[at + length].strip():
            return 0
        words = f"{words} {lines[at + length].strip()}"
    return 0


def _is_attribution(words: str) -> bool:
    """Tell whether a line says who wrote what follows: it names a moment, in digits."""
    if not any(char.isdigit() for char in words):
        return False
    if any(words.startswith(start) and words.endswith(end) for start, end in _WROTE):
        return True
    return words.endswith(":") and any(
        words.startswith(start) and middle in words for start, middle in _WROTE_WHO
    )


def _quote_follows(lines: list[str], at: int) -> bool:
    """Tell whether the next line that is not empty is a quoted one."""
    for line in lines[at : at + 3]:
        if line.strip():
            return line.lstrip().startswith(">")
    return False


def _old_headers(lines: list[str], at: int) -> bool:
    """Tell whether the header lines of an older mail begin here, a rule before them or not."""
    line = lines[at].strip()
    if _RULE.fullmatch(line):
        after = [text for text in lines[at + 1 : at + 4] if text.strip()]
        return (
            bool(after) and _FROM.match(after[0].strip()) is not None and _has_headers(lines, at)
        )
    return _FROM.match(line) is not None and _has_headers(lines, at)


def _has_headers(lines: list[str], at: int) -> bool:
    """Tell whether a date and a recipient or subject stand in the next lines."""
    near = [line.strip()[:200] for line in lines[at + 1 : at + 1 + _HEADER_LINES]]
    return any(map(_DATE.match, near)) and any(map(_ABOUT.match, near))


def _tidy(lines: list[str]) -> str:
    """Return lines as one text, without blank lines at its ends and three in a row."""
    kept: list[str] = []
    for line in lines:
        if line.strip() or (kept and kept[-1].strip()):
            kept.append(line.rstrip())
    return "\n".join(kept).strip("\n").rstrip()
