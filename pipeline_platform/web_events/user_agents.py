"""What a user agent says of itself: browser, version, operating system, kind of device.

Browser and system come from ua-parser's maintained rules (uap-core); the kind of device from the
ordered patterns below, because uap-core names models and not kinds. Every agent is read once, and
only its first `MAX_AGENT_LENGTH` characters.
"""

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import pyarrow as pa
from ua_parser import Domain
from ua_parser.loaders import load_lazy_builtins
from ua_parser.regex import Resolver

from pipeline_platform.web_events.agent_patterns import MAX_AGENT_LENGTH, AgentPatterns, Pattern

DESCRIPTIONS = pa.schema(
    [
        pa.field("user_agent", pa.string()),
        pa.field("browser", pa.string()),
        pa.field("browser_version", pa.string()),
        pa.field("operating_system", pa.string()),
        pa.field("device_type", pa.string(), nullable=False),
    ]
)
DEVICE_TYPES = ("desktop", "mobile", "tablet", "tv", "bot", "other", "unknown")
_NOTHING_SAID = "Other"
_CRAWLER = "Spider"

# The first that matches; what shares a word with a later kind stands before it.
_KINDS = (
    ("desktop", r"tablet pc \d|chromebook|\bcros\b"),
    (
        "tv",
        r"smart-?tv|hbbtv|ce-html|\bapple ?tv|appletv|google ?tv|android ?tv|web0s|webos\.tv"
        r"|netcast|nettv|\bviera|bravia|\baft[a-z]{1,4}\d*\b|\broku|crkey|chromecast|\bdtv\b"
        r"|opera tv|\bmaple\b|inettvbrowser|aquos-?tv|\bmi ?box|\bmitv|stb\b|set-?top|\bott\b"
        r"|philipstv|vizio|vidaa|\btv[ ;/_)-]|[ _-]tv\b|ctv\b|\bbdp|blu-?ray|kreatv|qbox|tvbox"
        r"|tv ?box|\bfetchtv|swisscom|\bmag\d{3}\b|espial|ekioh|infomir|hybridcast|opentv|otvwebkit"
        r"|brightsign|sonybdp|boxee|\bohtv|maple\d|aquos-dmp",
    ),
    (
        "other",
        r"playstation|\bps[345]\b|dreampassport|dreamkey|segasaturn"
        r"|\bxbox|nintendo|\bpsp\b|\bwii|shield console|retroid|watch ?os\b|watch\b|watch\d"
        r"|\bsm-r[89]\d\d|smartwatch|wear ?os|oculus|quest( \d)?\b|pico ?(neo|\d)|vr safari"
        r"|\btesla/|qtcarbrowser|\bcar[ _-]?(browser|play)|automotive|homepod|alexa|sonos|echo\b"
        r"|smart ?(display|speaker)|fridge|coolpix|galaxy camera",
    ),
    (
        "tablet",
        r"ipad|tablet|playbook|kindle|silk/|\bkf[a-z]{3,5}\b|\bnook|kobo|\bnexus (7|9|10)\b"
        r"|\bsm-[tpx]\d{3}|\bgt-p\d{4}|\bgt-n(51|80)\d\d|galaxy (tab|note 10\.1)|\bxoom\b"
        r"|transformer|\b(tab|pad)\d?\b|mediapad|matepad|lenovo tb|lenovo (yt|yoga)|\bmid\d"
        r"|hp-tablet|touchpad|iconia|\bme\d{3}[a-z]|\bt-?pad|mi ?pad",
    ),
    (
        "mobile",
        r"iphone|ipod|\bmobile\b|mobi\b|phone|blackberry|\bbb10\b|midp|cldc|symbian|series ?[346]0"
        r"|nokia|opera (mini|mobi)|ucweb|\bj2me\b|\bbrew\b|\bpalm|windows ce|iemobile|kaios|maemo"
        r"|meego|bada/|\bdocomo|kddi|j-phone|vodafone|up\.(browser|link)|wap ?browser|\bsamsung"
        r"|\blge?-|\bmot-|sonyericsson|\bsgh-|\bhtc|netfront|obigo|dalvik.*android|\bdarwin.*mobile"
        r"|fxios|crios|fban/fbios|scale/\d|\bmaui|\bmre/|\bfoma\b|jig browser|hpwos|webos/\d"
        r"|\bup/\d",
    ),
    ("tablet", r"android"),
    (
        "desktop",
        r"windows|win(32|64|9\d|nt)|macintosh|mac[ _]?os|mac_powerpc|\bx11\b|linux|\bbsd|bsd\b"
        r"|sunos|solaris|\bhaiku|beos|amiga|morphos|risc ?os|os/2|darwin|ubuntu|fedora|irix|hp-ux"
        r"|\baix\b|\bvms|\bdos\b",
    ),
)


class Description(NamedTuple):
    """What one agent says; None where it does not say. `browser_version` as far as it is given.

    `device_type` is one of DEVICE_TYPES: `other` for consoles, watches, cars, speakers and the
    like, `bot` for what uap-core calls a spider, `unknown` when nothing speaks for any.
    """

    browser: str | None
    browser_version: str | None
    operating_system: str | None
    device_type: str


def describe(agent: str | None) -> Description:
    """Read one agent; no agent says nothing, and its device is unknown."""
    text = (agent or "")[:MAX_AGENT_LENGTH]
    read = _parser()(text, Domain.ALL)
    browser, system = read.user_agent, read.os
    named = browser is not None and browser.family != _NOTHING_SAID
    version = (browser.major, browser.minor, browser.patch, browser.patch_minor) if browser else ()
    return Description(
        browser=browser.family if browser and named else None,
        browser_version=".".join(part for part in version if part) or None if named else None,
        operating_system=system.family if system and system.family != _NOTHING_SAID else None,
        device_type=_device_type(text, read.device.family if read.device else None),
    )


def describe_agents(agents: Iterable[str | None]) -> pa.Table:
    """Read distinct agents; returns a table of DESCRIPTIONS, a row for each in the order given."""
    given = list(agents)
    columns = list(zip(*(describe(agent) for agent in given), strict=True)) or [()] * 4
    return pa.table(
        [pa.array(given, pa.string()), *(pa.array(one, pa.string()) for one in columns)],
        schema=DESCRIPTIONS,
    )


def _device_type(text: str, device: str | None) -> str:
    if device == _CRAWLER:
        return "bot"
    found = _kinds().first_match(text)
    if found is not None:
        return _KINDS[found][0]
    return "unknown" if device in (None, _NOTHING_SAID) else "other"


@cache
def _parser() -> Resolver:
    return Resolver(load_lazy_builtins())


@cache
def _kinds() -> AgentPatterns:
    return AgentPatterns([Pattern(expression) for _, expression in _KINDS])
