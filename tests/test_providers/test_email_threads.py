"""Mail read and threaded: new text and quotations, ids, addresses, MIME, HTML."""

from __future__ import annotations

import base64
import time
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.exceptions import WebhookError
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.providers.email._address import Address, addresses, first_address
from roomkit.providers.email._html import html_to_text
from roomkit.providers.email._inbound import carried, is_automatic, read_mail, safe_name
from roomkit.providers.email._mime import (
    MAX_PARTS,
    Headers,
    decode_text,
    decode_words,
    from_base64,
    media_type,
    read_multipart,
    read_parameters,
)
from roomkit.providers.email._quoted import split_quoted
from roomkit.providers.email._thread import (
    in_thread,
    message_ids,
    reply_subject,
    thread_headers,
    thread_of,
)
from roomkit.testing import make_event

QUICK = settings(max_examples=300, deadline=None)


class TestQuoted:
    """The new text is told from what a mail repeats."""

    @pytest.mark.parametrize(
        ("text", "quoted"),
        [
            ("On Sat, Nov 21, 2026 at 10:00 AM Bot <b@x.test> wrote:\n\n> Hello\n> you", "Hello"),
            (
                "On Sat, 21 Nov 2026 at 10:00, A Very Long Name\n<b@x.test> wrote:\n> Hello",
                "Hello",
            ),
            ("On 21 Nov 2026, at 10:00, Bot <b@x.test> wrote:\n\nHello", "Hello"),
            (
                "Le sam. 21 nov. 2026 \u00e0 10:00, Bot <b@x.test> a \u00e9crit :\n\n> Salut",
                "Salut",
            ),
            ("Am 21.11.2026 um 10:00 schrieb Bot <b@x.test>:\n> Hallo", "Hallo"),
            (
                "El s\u00e1b, 21 nov 2026 a las 10:00, Bot (<b@x.test>) escribi\u00f3:\n> Hola",
                "Hola",
            ),
            ("Il giorno sab 21 nov 2026 alle 10:00 Bot <b@x.test> ha scritto:\n> Ciao", "Ciao"),
            ("Op za 21 nov 2026 om 10:00 schreef Bot <b@x.test>:\n> Hoi", "Hoi"),
            ("2026-11-21 10:00 GMT+01:00 Bot <b@x.test>:\n> Hello", "Hello"),
            ("-----Original Message-----\nFrom: Bot\n\nHello", "Hello"),
            ("-----Urspr\u00fcngliche Nachricht-----\nVon: Bot\n\nHallo", "Hallo"),
            (
                "________________________________\nFrom: Bot <b@x.test>\nSent: Saturday\n"
                "To: Ana\nSubject: Hi\n\nHello",
                "Hello",
            ),
            ("From: Bot <b@x.test>\nDate: Saturday\nSubject: Hi\n\nHello", "Hello"),
            ("*Von:* Bot\n*Gesendet:* Samstag\n*An:* Ana\n*Betreff:* Hi\n\nHallo", "Hallo"),
            ("> Hello\n> there", "Hello"),
        ],
    )
    def test_a_reply_above(self, text: str, quoted: str) -> None:
        """What the mail program added is all quotation, in each program's way."""
        found = split_quoted(f"Yes, please.\r\n\r\nAna\r\n\r\n{text}\n")
        assert found.new == "Yes, please.\n\nAna"
        assert quoted in found.quoted
        assert found.quoted.splitlines()[0] == text.splitlines()[0]

    def test_answers_between_the_lines(self) -> None:
        """They are new; the lines they answer are not."""
        text = "On 1 May 2026, Bot wrote:\n> One?\nyes\n> Two?\nno\n\nBye"
        assert split_quoted(text).new == "yes\nno\n\nBye"
        assert split_quoted(text).quoted == "On 1 May 2026, Bot wrote:\n> One?\n> Two?"

    @pytest.mark.parametrize(
        "text",
        [
            "Hello",
            "On Monday I wrote:\nthis",
            "From: the bottom of my heart\nthanks",
            "On 5 May we met.\nSee you",
            "a > b and b > c",
        ],
    )
    def test_ordinary_text(self, text: str) -> None:
        """Nothing is taken away from a mail that quotes nothing."""
        assert (split_quoted(text).new, split_quoted(text).quoted) == (text, "")

    @pytest.mark.parametrize(
        "text",
        [
            "Look:\n\n---------- Forwarded message ---------\nFrom: Bob\nDate: x\nSubject: y\n\nz",
            "Begin forwarded message:\n\n> From: Bob\n> z",
            "From: Bob <b@x.test>\nSent: Monday\nTo: Ana\nSubject: y\n\nz",
        ],
    )
    def test_a_forwarded_mail_is_shown(self, text: str) -> None:
        """It is what the sender wants to say."""
        assert split_quoted(text).new == text

    def test_nothing_but_a_quotation(self) -> None:
        """An answer without words, such as one picture, has no new text."""
        assert split_quoted("On 1 May 2026, Bot wrote:\n\n> Hello\n").new == ""

    @pytest.mark.parametrize(
        "piece", ["On 1 ", "On 1\n", "> ", "-", "_" * 9 + "\n", "From: x\n", "Am 1 schrieb ", "\r"]
    )
    def test_it_takes_linear_time(self, piece: str) -> None:
        """A megabyte of the worst lines is split in well under a second."""
        text = piece * (1_000_000 // len(piece))
        start = time.process_time()
        split_quoted(text)
        assert time.process_time() - start < 3

    @QUICK
    @given(st.text(alphabet="On 1wrote:>\n-_From: Sent\r", max_size=300))
    def test_no_word_is_lost(self, text: str) -> None:
        """Every character that is no blank is in one part or the other."""
        found = split_quoted(text)
        assert sorted("".join((found.new + found.quoted).split())) == sorted("".join(text.split()))


class TestThread:
    """Ids of conversations."""

    def test_ids_of_a_header(self) -> None:
        """With or without brackets, each once, and never too many."""
        assert message_ids("<a@x> <b@x>\n <a@x>") == ["a@x", "b@x"]
        assert message_ids("a@x junk b@x") == ["a@x", "b@x"]
        assert message_ids("") == []
        many = message_ids(" ".join(f"<{n}@x>" for n in range(500)))
        assert (len(many), many[0], many[1], many[-1]) == (100, "0@x", "401@x", "499@x")

    def test_the_first_mail_names_the_thread(self) -> None:
        """The oldest reference, else what is answered, else the mail itself."""
        assert thread_of("c", "b", ["a", "b"]) == "a"
        assert thread_of("c", "b", []) == "b"
        assert thread_of("c", None, []) == "c"
        assert thread_of(None, None, []) is None

    def test_subjects_of_answers(self) -> None:
        """One ``Re:`` is enough, in any language and spelling."""
        assert reply_subject("Hi") == "Re: Hi"
        for subject in ("Re: Hi", "RE: Hi", "AW: Hi", "Re[2]: Hi", "", "sv: x"):
            assert reply_subject(subject) == subject

    def test_references_fit_a_line(self) -> None:
        """The first and the newest are kept."""
        ids = [f"{n:060}@x.test" for n in range(60)]
        value = thread_headers({"references": ids}, "me@x.test")["References"]
        assert len(value) <= 900
        kept = message_ids(value)
        assert kept[0] == ids[0]
        assert kept[1:] == ids[-len(kept) + 1 :]

    def test_our_own_events_get_our_domain(self) -> None:
        """An id without a domain is one of ours."""
        found = thread_headers(
            {"in_reply_to": "e1", "references": "<a@x> <e1@me.test>"}, "b@me.test"
        )
        assert found == {"In-Reply-To": "<e1@me.test>", "References": "<a@x> <e1@me.test>"}

    @pytest.mark.parametrize("value", [None, 3, "", "a b", "a\nb@x", "<>", "\u00e9@x", ["a"]])
    def test_no_id(self, value: object) -> None:
        """What no header can hold makes none."""
        assert thread_headers({"in_reply_to": value, "references": [value]}, "b@x") == {}


def mail_event(
    message_id: str, index: int, channel_id: str = "mail", **fields: object
) -> RoomEvent:
    """Return an event that came in by mail."""
    source = EventSource(
        channel_id=channel_id, channel_type=ChannelType.EMAIL, external_id=message_id
    )
    event = make_event(index=index, **fields)
    return RoomEvent(**{**event.__dict__, "source": source})


class TestInThread:
    """What goes out answers the right mail."""

    def test_the_newest_mail(self) -> None:
        """Its id, what it refers to and its subject."""
        first = mail_event("a@x", 0, metadata={"references": [], "subject": "Help"})
        second = mail_event(
            "c@x", 2, metadata={"references": ["a@x", "b@x"], "subject": "Re: Help"}
        )
        found = in_thread(make_event(index=3), "mail", [first, make_event(index=1), second])
        assert found.metadata == {
            "in_reply_to": "c@x",
            "references": ["a@x", "b@x", "c@x"],
            "subject": "Re: Help",
        }

    def test_the_mail_it_was_written_for(self) -> None:
        """An answer that comes late still answers its own question."""
        first = mail_event("a@x", 0, metadata={"subject": "Help", "in_reply_to": "z@x"})
        event = make_event(index=2, parent_event_id=first.id)
        found = in_thread(event, "mail", [first, mail_event("b@x", 1)])
        assert found.metadata["in_reply_to"] == "a@x"
        assert found.metadata["references"] == ["z@x", "a@x"]
        assert found.metadata["subject"] == "Re: Help"

    def test_what_was_said_stays(self) -> None:
        """Metadata of the event comes first; a subject of its own is kept."""
        mail = mail_event("a@x", 0, metadata={"subject": "Help"})
        said = make_event(index=1, metadata={"in_reply_to": "q@x"})
        assert in_thread(said, "mail", [mail]) is said
        titled = make_event(index=1, metadata={"subject": "New"})
        assert in_thread(titled, "mail", [mail]).metadata["subject"] == "New"

    def test_other_channels_do_not_matter(self) -> None:
        """Nor does the future; without a mail the event stays as it is."""
        event = make_event(index=1)
        others = [mail_event("a@x", 0, "other"), mail_event("b@x", 5), event]
        assert in_thread(event, "mail", others) is event

    def test_a_mail_passed_on(self) -> None:
        """A mail of another channel speaks of itself: it joins this channel's thread."""
        mail = mail_event("a@x", 0)
        passed = mail_event("p@y", 1, "other", metadata={"in_reply_to": "o@y"})
        assert in_thread(passed, "mail", [mail, passed]).metadata["in_reply_to"] == "a@x"
        assert in_thread(passed, "mail", [passed]) is passed

    def test_mails_we_sent_before(self) -> None:
        """Two in a row belong together although nobody has answered."""
        sent = {"mail": {"status": "sent", "provider_message_id": "m"}}
        ours = [make_event(index=n, delivery_results=sent) for n in range(3)]
        found = in_thread(make_event(index=3), "mail", ours)
        assert found.metadata == {
            "in_reply_to": ours[2].id,
            "references": [ours[0].id, ours[2].id],
        }


class TestAddresses:
    """Names and addresses of header lines."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("ana@x.test", [("", "ana@x.test")]),
            ("Ana <ana@x.test>", [("Ana", "ana@x.test")]),
            (
                '"Smith, Bob \\"B\\"" <bob@x.test>, c@x',
                [('Smith, Bob "B"', "bob@x.test"), ("", "c@x")],
            ),
            ("Ana (at home) <ana@x.test>", [("Ana", "ana@x.test")]),
            ("Team: a@x, B <b@x>;", [("", "a@x"), ("B", "b@x")]),
            ("<@relay:ana@x>", [("", "ana@x")]),
            ("undisclosed-recipients:;", []),
            ("<>", []),
            ("", []),
            ("A <a@x", [("A", "a@x")]),
            ('"open <a@x>', []),
        ],
    )
    def test_they_are_read(self, value: str, expected: list[tuple[str, str]]) -> None:
        """Quotes, comments, groups and routes included."""
        assert addresses(value) == [Address(*one) for one in expected]

    @pytest.mark.parametrize("piece", ["(", "<", '"', "a@x,", "\\", ")<", ":;", '"\\'])
    def test_hostile_ones(self, piece: str) -> None:
        """Depth and length cost nothing, and nothing raises."""
        start = time.process_time()
        assert len(addresses(piece * 200_000)) <= 1000
        assert first_address(piece * 10) is not None
        assert time.process_time() - start < 3


class TestHTML:
    """HTML as a reader sees it."""

    @pytest.mark.parametrize(
        ("html", "text"),
        [
            ("<p>Hello &amp; <b>you</b></p><p>Bye</p>", "Hello & you\n\nBye"),
            ("a<br>b<br/>c", "a\nb\nc"),
            ("<style>p{}</style><script>alert(1)</script><title>x</title>Hi", "Hi"),
            ("<!-- no -->Hi<!DOCTYPE html><?xml ?>", "Hi"),
            ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
            ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
            ("Yes<blockquote>Old<br>mail</blockquote>", "Yes\n>\n> Old\n> mail"),
            ('<a title="a > b">link</a>', "link"),
            ("1 < 2", "1 < 2"),
            ("<a", ""),
            ("x <script>never closed", "x never closed"),
            ("&#" + "1" * 5000 + ";", "&#" + "1" * 5000 + ";"),
            ("a&nbsp;b\n\n  c", "a b c"),
        ],
    )
    def test_it_is_read(self, html: str, text: str) -> None:
        """Blocks are lines, entities characters, quotations marked."""
        assert html_to_text(html).replace("> \n", ">\n") == text

    @pytest.mark.parametrize(
        "piece",
        [
            "<",
            "<a",
            '<a "',
            "<a '\"",
            "<!--",
            "<!",
            "<script>",
            "</",
            "<blockquote>",
            "&#x",
            "<p>",
        ],
    )
    def test_hostile_ones(self, piece: str) -> None:
        """A megabyte of broken markup is read in linear time."""
        start = time.process_time()
        html_to_text(piece * (1_000_000 // len(piece)))
        assert time.process_time() - start < 3


def built(**headers: str) -> EmailMessage:
    """Return a mail with some headers."""
    mail = EmailMessage()
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    return mail


class TestMIME:
    """Whole mails and forms."""

    def test_a_mail_with_everything(self) -> None:
        """Text and HTML in their charsets, attachments with their names."""
        mail = built(From="\u00c5sa <asa@x.test>", Subject="Caf\u00e9 \u2615 " * 9)
        mail.set_content("R\u00e9sum\u00e9 =\n", charset="iso-8859-1", cte="quoted-printable")
        mail.add_alternative("<p>R\u00e9sum\u00e9</p>", subtype="html", cte="base64")
        mail.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="\u00fc.png")
        inner = built(Subject="inner")
        inner.set_content("inside")
        mail.add_attachment(inner)
        found = read_mail(mail.as_bytes())
        assert found.text.strip() == "R\u00e9sum\u00e9 ="
        assert found.html.strip() == "<p>R\u00e9sum\u00e9</p>"
        assert found.headers.get("subject") == ("Caf\u00e9 \u2615 " * 9).strip()
        assert first_address(found.headers.get("from")) == Address("\u00c5sa", "asa@x.test")
        assert [(f.filename, f.mime_type) for f in found.files] == [
            ("\u00fc.png", "image/png"),
            ("", "message/rfc822"),
        ]
        assert found.files[0].content == b"\x89PNG"

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("plain", "plain"),
            ("=?utf-8?q?caf=C3=A9_au?= =?utf-8?q?_lait?=", "caf\u00e9 au lait"),
            ("=?UTF-8?B?4pg=?= =?UTF-8?B?lQ==?=", "\u2615"),
            ("=?iso-8859-1*fr?Q?=E9?= x", "\u00e9 x"),
            ("=?unknown?q?a?=", "a"),
            ("=?idna?q?a?=", "a"),
            ("=?utf-8?b?###?=", ""),
            ("=?broken", "=?broken"),
        ],
    )
    def test_encoded_words(self, value: str, text: str) -> None:
        """RFC 2047, characters split over two words included."""
        assert decode_words(value) == text

    @pytest.mark.parametrize(
        ("value", "name"),
        [
            ('attachment; filename="a;b\\"c.txt"', 'a;b"c.txt'),
            ("attachment; filename*=utf-8''%C3%BC.png; filename=x", "\u00fc.png"),
            ("attachment; filename*0*=utf-8''%C3%BC; filename*1=\".png\"", "\u00fc.png"),
            ("attachment; filename==?utf-8?q?=C3=BC?=", "\u00fc"),
            ("attachment", None),
        ],
    )
    def test_file_names(self, value: str, name: str | None) -> None:
        """RFC 2231 and what is used instead."""
        assert read_parameters(value)[1].get("filename") == name

    def test_names_and_types_are_harmless(self) -> None:
        """No path, no control character, no type that is none."""
        assert safe_name("..\\..\\etc/pass\x00wd\r\n") == "passwd"
        assert media_type("Image/PNG") == "image/png"
        assert media_type('x" onload="') == "application/octet-stream"

    def test_charsets(self) -> None:
        """An unknown one is read as UTF-8; none that is no text is ever used."""
        assert decode_text(b"\xe9", "latin-1") == "\u00e9"
        for charset in ("", "no-such", "base64", "idna", "zlib", "utf_7\x00", "\ud800"):
            assert decode_text(b"caf\xc3\xa9", charset) == "caf\u00e9"

    def test_broken_base64(self) -> None:
        """It is read as far as it goes."""
        data = base64.b64encode(b"hello world")
        assert from_base64(data[:-1] + b"\n") == b"hello world"
        assert from_base64(b"!!!" + data) == b"hello world"
        assert from_base64(b"A") == b""

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"--b\r\n",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n',
            b"--b\r\n\r\nx\r\n--b--",
            b'--b\r\nContent-Disposition: form-data; name=""\r\n\r\nx\r\n--b--',
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * (MAX_PARTS + 2)
            + b"--b--",
        ],
    )
    def test_broken_forms(self, body: bytes) -> None:
        """Cut off, nameless or with too many parts: a WebhookError."""
        with pytest.raises(WebhookError):
            read_multipart(body, "multipart/form-data; boundary=b")
        for kind in ("", "text/plain", "multipart/form-data", "multipart/form-data; boundary="):
            with pytest.raises(WebhookError):
                read_multipart(body, kind)

    def test_deep_and_wide_mails(self) -> None:
        """Depth ends quietly, width in an error; both in linear time."""
        start = time.process_time()
        deep = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
            for n in range(5000)
        )
        assert read_mail(deep).text == ""
        wide = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 1000
        with pytest.raises(WebhookError, match="200 parts"):
            read_mail(wide)
        read_mail(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"\n--bb" * 400_000)
        read_mail(b"Subject: " + b"=?a?q?" * 300_000)
        Headers("a: b\n" + " x\n" * 200_000)
        assert time.process_time() - start < 3

    @QUICK
    @given(st.binary(max_size=200), st.sampled_from([b"b", b'"b"', b"b\r\n--b"]))
    def test_anything_is_read(self, body: bytes, boundary: bytes) -> None:
        """Whatever the bytes are, there is a mail or a WebhookError."""
        raw = b"Content-Type: multipart/x; boundary=" + boundary + b"\r\n\r\n--b\r\n" + body
        for given_bytes in (body, raw, raw + b"\r\n--b--"):
            try:
                read_mail(given_bytes)
                read_multipart(given_bytes, "multipart/form-data; boundary=b")
            except WebhookError:
                continue

    def test_attachments_within_the_limit(self) -> None:
        """The first that fit are carried; of the others only the facts."""
        mail = built()
        mail.set_content("x")
        for size in (3, 9, 0, 4):
            mail.add_attachment(b"x" * size, maintype="a", subtype="b", filename=f"{size}")
        said, media = carried(read_mail(mail.as_bytes()).files, 8)
        assert [(one["size_bytes"], one["carried"]) for one in said] == [
            (3, True),
            (9, False),
            (0, False),
            (4, True),
        ]
        assert media[0] == {"url": "data:a/b;base64,eHh4", "mime_type": "a/b"}


class TestAutomatic:
    """Mail no program should answer."""

    @pytest.mark.parametrize(
        ("block", "automatic"),
        [
            ("Auto-Submitted: auto-replied", True),
            ("Auto-Submitted: auto-generated; x=1", True),
            ("Auto-Submitted: no", False),
            ("Precedence: bulk", True),
            ("Precedence: first-class", False),
            ("X-Autoreply: yes", True),
            ("", False),
        ],
    )
    def test_it_is_told(self, block: str, automatic: bool) -> None:
        """By the headers of RFC 3834 and those in use before it."""
        assert is_automatic(Headers(block)) is automatic
