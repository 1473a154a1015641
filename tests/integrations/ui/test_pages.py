"""The pages of the admin plane in a real browser: what a person sees, with mouse and keyboard."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, Page

from backstay.observe.admin import AdminServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Visit = Callable[..., Page]
SCREENS = ("now", "tasks", "graph", "timeline", "profiles", "guards", "leaks", "host")


def test_every_screen_opens_without_a_complaint(visit: Visit) -> None:
    """No error reaches the console, and nothing is asked of anybody but the gate."""
    for screen in SCREENS:
        page = visit(screen)
        assert page.text("h1")
        assert page.js("document.querySelector('#alert').hidden"), page.text("#alert")
        assert page.complaints == [], screen
        wide = page.js("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{screen} is {wide} pixels too wide"
    origin = page.js("location.origin")
    strangers = [url for url in page.requests if not url.startswith(origin)]
    assert strangers == []
    assert page.js("window.__backstay.errors") == []


def test_the_present_is_told_in_numbers(visit: Visit) -> None:
    """The first screen counts tasks by state and owner, and shows memory, descriptors and lag."""
    page = visit("now")
    shown = page.text("main")
    for name in (
        "Tasks",
        "Loop lag",
        "Memory",
        "File descriptors",
        "Collections",
        "Requests in flight",
    ):
        assert name in shown
    assert re.search(r"MiB", shown)
    assert "main/shop/feeds" in shown or "shop/feeds" in shown
    assert "waiting" in shown


def test_a_blocked_loop_is_named_while_it_is_blocked(watched: Any, visit: Visit) -> None:
    """While `time.sleep` holds the loop, the page says in which function and at which line."""
    page = visit("now")
    watched.block(4.0)
    try:
        page.until("document.querySelector('#blocked .box') !== null")
        shown = page.text("#blocked")
        assert page.text("#blocked strong") == "render_invoice", shown
        line = 1 + next(
            at
            for at, text in enumerate(
                Path(__file__).with_name("watched.py").read_text().splitlines()
            )
            if "time.sleep(seconds)" in text
        )
        assert f"watched.py:{line}" in shown
    finally:
        watched.unblock()
    page.until("document.querySelector('#blocked .box') === null")
    page.until("document.querySelector('main').innerText.includes('render_invoice')")


def test_tasks_are_filtered_and_followed_to_one_by_keyboard(visit: Visit) -> None:
    """From the list of groups to one task and back, without a mouse."""
    page = visit("now")
    page.key("2")
    page.until("document.querySelectorAll('.groups .view .row').length > 3")
    page.key("/")
    page.type("QUEUE consume")
    page.until("/^200 of /.test(document.querySelector('[role=status]').innerText)")
    assert page.js("document.querySelectorAll('.groups .view .row').length") == 1
    page.key("Enter")
    page.key("j", "Enter")
    page.until("document.querySelectorAll('.members .view .row').length > 10")
    assert "200 × consume" in page.text("h1")
    page.key("j", "ArrowDown", "Enter")
    page.sees("Await chain")
    shown = page.text("main")
    assert "consume" in shown
    assert "queue get" in shown
    assert "consumer orders, " in shown
    page.key("Escape")
    page.until("document.querySelector('.members') !== null")
    page.key("Escape")
    page.until("document.querySelector('.groups') !== null")
    assert page.complaints == []


def test_tasks_are_sorted_and_opened_by_mouse(visit: Visit) -> None:
    """A click on a column sorts, a click on a row opens."""
    page = visit("tasks")
    page.until("document.querySelectorAll('.groups .view .row').length > 3")
    first = "document.querySelector('.groups .view .row').innerText"
    assert page.js(first).split("\n")[0] == "200"
    page.click(".groups .top button:nth-child(1)")
    page.until(f"{first}.split('\\n')[0] === '1'")
    page.click(".groups .top button:nth-child(4)")
    page.until("document.querySelector('.groups .top button:nth-child(4)').ariaSort !== null")
    page.click(".groups .view .row")
    page.until("document.querySelector('.members .view .row') !== null")


def test_a_filter_without_a_match_says_so(visit: Visit) -> None:
    """An empty list is explained."""
    page = visit("tasks")
    page.key("/")
    page.type("no such thing")
    page.sees("No task matches")
    page.key("Escape")


def test_a_deadlock_is_drawn_red_and_told(visit: Visit) -> None:
    """Two tasks with two locks in the wrong order are a ring, with the lines of both."""
    page = visit("graph")
    page.until("document.querySelectorAll('svg.graph g.ring').length === 2")
    assert page.js("document.querySelectorAll('svg.graph path.ring').length") >= 2
    stroke = page.js("getComputedStyle(document.querySelector('svg.graph g.ring rect')).stroke")
    red, green, blue = map(int, re.findall(r"\d+", stroke)[:3])
    assert red > 1.5 * max(green, blue)
    said = page.text(".box.ring")
    assert "Deadlock: 2 tasks" in said
    assert "no timer ends any of these waits" in said
    assert "watched.py" in said


def test_owners_are_a_tree_with_deadlines(visit: Visit) -> None:
    """Each scope stands below the one around it, and tells until when it may run."""
    page = visit("graph")
    page.until("document.querySelectorAll('.tree tbody tr').length >= 3")
    line = page.js(
        "[...document.querySelectorAll('.tree tbody tr')].find((one) => one.innerText.includes('orders')).innerText"
    )
    assert re.search(r"in 1 h 59 m", line), line
    count = page.js("document.querySelectorAll('.tree tbody tr').length")
    page.click(".tree button")
    page.until(f"document.querySelectorAll('.tree tbody tr').length < {count}")


def test_a_profile_is_made_searched_and_compared(visit: Visit) -> None:
    """Two looks at the tasks make a flame graph, a table and a comparison."""
    page = visit("profiles")
    page.js(
        "(() => { const kind = document.querySelector('select[aria-label=Kind]');"
        " kind.value = 'task'; kind.dispatchEvent(new Event('change')); })()"
    )
    page.click("button.primary")
    page.until("window.__backstay.flame?.names.includes('consume')")
    assert "consume" in page.text("table[aria-label=Functions]")
    first = page.js("window.__backstay.flame.boxes")
    place = page.js(
        "(() => { const at = window.__backstay.flame.names.indexOf('consume');"
        " const [x, y, w] = window.__backstay.flame.places[at];"
        " const box = document.querySelector('canvas.flame').getBoundingClientRect();"
        " return {x: box.x + x + w / 2, y: box.y + y + 8}; })()"
    )
    page.press_at(place["x"], place["y"])
    page.until("window.__backstay.flame.zoomed > 0")
    page.key("Escape")
    page.until(f"window.__backstay.flame.zoomed === 0 && window.__backstay.flame.boxes === {first}")
    page.click("button.primary")
    page.until(
        "document.querySelectorAll('table[aria-label=\"Saved profiles\"] tbody tr').length === 2"
    )
    page.js(
        "[...document.querySelectorAll('button')].find((one) => one.innerText === 'compare with this').click()"
    )
    page.sees("against")
    assert page.complaints == []


def test_a_cpu_profile_names_what_uses_the_processor(visit: Visit) -> None:
    """One second of looking finds the function that is busy."""
    page = visit("profiles")
    page.js(
        "(() => { document.querySelector('select[aria-label=Kind]').value = 'profile';"
        " document.querySelector('select[aria-label=Seconds]').value = '1'; })()"
    )
    page.click("button.primary")
    page.until("window.__backstay.flame?.names.includes('score')")


@pytest.mark.parametrize(("kind", "named"), [("held", "consume"), ("mutex", "")])
def test_each_kind_of_profile_is_drawn(visit: Visit, kind: str, named: str) -> None:
    """Also those whose values are bytes, and one in which nothing was found."""
    page = visit("profiles")
    before = page.js(
        "document.querySelectorAll('table[aria-label=\"Saved profiles\"] tbody tr').length"
    )
    page.js(
        f"(() => {{ document.querySelector('select[aria-label=Kind]').value = '{kind}';"
        " document.querySelector('select[aria-label=Seconds]').value = '1'; })()"
    )
    page.click("button.primary")
    page.until(
        f"document.querySelectorAll('table[aria-label=\"Saved profiles\"] tbody tr').length > {before}"
    )
    if named:
        page.until(f"window.__backstay.flame?.names.includes('{named}')")
    assert page.complaints == []


def test_guards_show_state_and_rejections(visit: Visit) -> None:
    """A breaker that is open, a bulkhead that is full, a pool, and a rate that refuses."""
    page = visit("guards")
    page.until("document.querySelectorAll('tbody tr').length === 4")
    rows = page.js("[...document.querySelectorAll('tbody tr')].map((one) => one.innerText)")
    told = {row.split("\t")[0].split("\n")[0].strip(): row for row in rows}
    assert "open" in told["payments"]
    assert "full" in told["warehouse"]
    assert "database" in told
    page.key("/")
    page.type("breaker")
    page.until("document.querySelectorAll('tbody tr').length === 1")


def test_leaks_and_a_diagnosis_name_the_line(visit: Visit) -> None:
    """The deadlock is a finding; a diagnosis made from the page has it too."""
    page = visit("leaks")
    page.sees("STUCK")
    assert "watched.py" in page.text("main")
    page.js("document.querySelector('select[aria-label=\"Seconds to look\"]').value = '10'")
    answer = page.js("fetch('/v1/incidents/make?seconds=1').then((reply) => reply.json())")
    assert answer["findings"] >= 1
    page.key("r")
    page.until("document.querySelectorAll('tr[tabindex]').length === 1")
    page.click("tr[tabindex]")
    page.sees("evidence")


def test_the_host_lists_processes_and_opens_another(
    start_watched: Callable[..., Any], watched: Any, visit: Visit
) -> None:
    """One page shows the processes of the user; another one is read by way of this one."""
    other = start_watched(50, watched)
    page = visit("host")
    page.until("document.querySelectorAll('tbody tr').length === 2")
    page.js(f"location.hash = '#/tasks?pid={other.pid}'")
    page.until("document.querySelector('#process').innerText.includes('" + str(other.pid) + "')")
    page.until("document.querySelectorAll('.groups .view .row').length > 3")
    assert page.js("document.querySelector('.groups .view .row').innerText").startswith("25")
    visit("now")


def test_dark_and_light_are_both_readable(browser: Browser, visit: Visit) -> None:
    """Text stands out from what is behind it, at least 4.5 to 1, in both; a key changes over."""
    page = visit("now")
    seen = set()
    for _ in range(2):
        theme = page.js("document.documentElement.dataset.theme")
        seen.add(theme)
        for name in ("text", "dim", "link", "good", "warn", "bad"):
            for behind in ("bg", "panel"):
                ratio = page.js(_CONTRAST % (name, behind))
                assert ratio >= 4.5, f"{name} on {behind} in {theme}: {ratio:.2f}"
        page.key("d")
    assert seen == {"dark", "light"}


_CONTRAST = """(() => {
  const light = (name) => {
    const probe = document.createElement('i');
    probe.style.color = getComputedStyle(document.documentElement).getPropertyValue('--' + name);
    document.body.append(probe);
    const [r, g, b] = getComputedStyle(probe).color.match(/[0-9.]+/g).map((one) => one / 255)
      .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    probe.remove();
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [one, other] = [light('%s'), light('%s')].sort((a, b) => b - a);
  return (one + 0.05) / (other + 0.05);
})()"""


def test_the_focus_is_visible_and_goes_in_order(visit: Visit) -> None:
    """Tab goes from the first link through the screens, each with an outline."""
    page = visit("now")
    page.js("document.activeElement.blur()")
    page.js("document.querySelector('.skip').focus()")
    found = []
    for _ in range(4):
        page.key("Tab")
        found.append(page.js("document.activeElement.innerText"))
        width = page.js("getComputedStyle(document.activeElement).outlineWidth")
        assert width == "2px"
    assert [one.split("\n")[0].rstrip("1234567 ") for one in found] == [
        "Backstay",
        "Now",
        "Tasks",
        "Owners & waits",
    ]
    page.key("?")
    page.until("document.querySelector('dialog').open")
    page.key("Escape")


def test_a_wrong_address_says_what_to_do(watched: Any, browser: Browser) -> None:
    """Without the token, with a wrong one, and with one that was used, nobody gets in."""
    url = watched.gate()
    page = browser.page()
    for wrong in (url.partition("?")[0], url + "x", url.partition("?")[0] + "ui/"):
        page.goto(wrong)
        page.sees("does not let you in")
        page.sees("backstay ui TARGET")
    page.goto(url)
    page.until("location.pathname === '/ui/'")
    page.sees("Now")
    assert "token" not in page.js("location.href + document.cookie")
    other = browser.page()
    other.goto(url)
    other.sees("does not let you in")
    other.close()
    page.close()


def test_the_gate_answers_only_its_own_host_and_site(watched: Any) -> None:
    """Names that were pointed at loopback and pages of other sites get nothing; methods neither."""
    url = watched.gate()
    base = url.partition("?")[0]
    cookie, page = _open(url)
    value = re.search(r"(backstay_gate_\d+=[\w-]+); HttpOnly; SameSite=Strict", cookie)
    assert value is not None
    assert "/ui/" in page
    known = {"Cookie": value[1]}
    assert _status(base + "v1/now", known) == 200
    assert _status(base + "v1/now", {}) == 403
    assert _status(base + "v1/now", {**known, "Host": "evil.example"}) == 403
    assert _status(base + "v1/now", {**known, "Sec-Fetch-Site": "cross-site"}) == 403
    assert _status(base + "v1/now", {**known, "Sec-Fetch-Site": "same-site"}) == 403
    assert _status(base + "etc/passwd", known) == 404
    assert _status(base + "ui/../../etc/passwd", known) == 404
    request = urllib.request.Request(base + "v1/now", data=b"{}", headers=known)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as answer:
        assert answer.code == 501


def test_the_pages_come_with_strict_headers(watched: Any) -> None:
    """Nothing but the plane's own files may run, nobody may frame it, no address leaks."""
    url = watched.gate()
    cookie, _ = _open(url)
    request = urllib.request.Request(
        url.partition("?")[0] + "ui/", headers={"Cookie": cookie.partition(";")[0]}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        told = {name.lower(): value for name, value in reply.headers.items()}
        body = reply.read().decode()
    assert told["content-security-policy"].startswith("default-src 'self'")
    assert "unsafe" not in told["content-security-policy"]
    assert told["x-frame-options"] == "DENY"
    assert told["referrer-policy"] == "no-referrer"
    assert told["x-content-type-options"] == "nosniff"
    assert "<script>" not in body
    assert " style=" not in body


def _open(url: str) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return reply.headers["Set-Cookie"], reply.read().decode()


def _status(url: str, headers: dict[str, str]) -> int:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=10
        ) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_plane_on_loopback_serves_the_pages_for_its_token(
    browser: Browser, tmp_path: Path
) -> None:
    """Without a gate: the token is entered once, in the page, and a wrong one is refused."""
    with AdminServer("127.0.0.1:0", leak_interval=0, token="correct-horse-battery") as plane:
        page = browser.page()
        page.goto(plane.address + "/ui/")
        page.until("document.querySelector('input[name=token]') !== null")
        page.js("document.querySelector('input[name=token]').focus()")
        page.type("wrong-horse-battery")
        page.key("Enter")
        page.sees("This is not the token")
        page.click("a")
        page.until("document.querySelector('input[name=token]') !== null")
        page.js("document.querySelector('input[name=token]').focus()")
        page.type("correct-horse-battery")
        page.key("Enter")
        page.until("location.pathname === '/ui/' && location.search === ''")
        page.sees("Tasks by state")
        assert page.js("document.cookie") == ""
        page.close()


def test_a_hundred_thousand_tasks_can_be_read(
    start_watched: Callable[..., Any], browser: Browser
) -> None:
    """The list of a group with 50,000 members scrolls to its end, and documents stay small."""
    crowd = start_watched(100_000)
    page = browser.page()
    page.goto(crowd.gate())
    page.until("window.__backstay?.rounds > 0", 60)
    page.js("location.hash = '#/tasks'")
    page.until("document.querySelectorAll('.groups .view .row').length > 3", 60)
    page.key("/")
    page.type("consume queue")
    page.until("/^50,000 of /.test(document.querySelector('[role=status]').innerText)", 60)
    page.key("Enter", "j", "Enter")
    page.until("document.querySelectorAll('.members .view .row').length > 5", 60)
    page.key("End")
    page.until(
        "(() => { const row = document.querySelector('.members .view .row.on');"
        " return row && row.innerText.includes('queue get'); })()",
        60,
    )
    assert page.js("document.querySelectorAll('.view .row').length") < 100
    size = page.js(
        "fetch('/v1/tasks?limit=500').then((reply) => reply.text()).then((text) => text.length)"
    )
    assert size < 1_000_000
    assert page.complaints == []
    page.close()


def test_the_timeline_of_a_process_that_records(browser: Browser, recorded: str) -> None:
    """Its real tasks, with their names and lines, and a file for Perfetto."""
    page = browser.page()
    page.goto(recorded)
    page.until("window.__backstay?.rounds > 0")
    page.js("location.hash = '#/timeline'")
    page.until("window.__backstay.timeline?.tracks > 3")
    page.sees("Longest steps")
    page.sees("steady.py:")
    size = page.js(
        "fetch(document.querySelector('a.chip[title*=Perfetto]').href)"
        ".then((reply) => reply.arrayBuffer()).then((data) => data.byteLength)"
    )
    assert size > 2_000
    assert page.complaints == []
    page.close()


# A document as `/v1/timeline` gives it, to see what is drawn from one.
_TIMELINE = """(() => {
  const track = (number) => {
    const steps = [];
    for (let at = 100 + number * 0.002; at < 105; at += 0.011 + number * 0.004) steps.push([at, at + 0.001, at + 0.001 + 0.0005 * (number + 1), number ? number - 1 : -1]);
    return {task: `worker-${number}`, site: `app.py:${number}`, owner: 'shop', run_s: 1, ready_s: 0.2, wait: 'queue get', done: number === 3, steps};
  };
  const told = {recording: true, why: '', from: 100, to: 105, lost: 12, tracks: [...Array(12).keys()].map(track),
    longest: [{task: 'worker-2', site: 'app.py:2', s: 0.4, at: 102.5}]};
  const before = window.fetch;
  window.fetch = (asked, options) => String(asked).startsWith('/v1/timeline') ? Promise.resolve(new Response(JSON.stringify(told))) : before(asked, options);
  return true;
})()"""


def test_the_timeline_draws_the_document_it_is_given(browser: Browser, watched: Any) -> None:
    """One row for each task; zoomed by keys, moved to a long step by a click, told under the mouse."""
    page = browser.page()
    page.goto(watched.gate())
    page.until("window.__backstay?.rounds > 0")
    page.js(_TIMELINE)
    page.js("location.hash = '#/timeline'")
    page.until("window.__backstay.timeline?.tracks === 12")
    page.sees("12 older events are overwritten")
    inked = page.js(
        "(() => { const c = document.querySelector('canvas.time');"
        " const data = c.getContext('2d').getImageData(240, 24, 400, 200).data;"
        " return data.filter((one, at) => at % 4 === 3 && one > 0).length; })()"
    )
    assert inked > 2_000
    page.key("+")
    page.until("window.__backstay.timeline.to - window.__backstay.timeline.from < 2.6")
    page.click("tr[tabindex]")
    page.until("Math.abs(window.__backstay.timeline.from - 102.1) < 0.01")
    place = page.js(
        "(() => { const r = document.querySelector('canvas.time').getBoundingClientRect();"
        " return {x: r.x + 500, y: r.y + 30}; })()"
    )
    page.move(place["x"], place["y"])
    page.until("document.querySelector('.tip').hidden === false")
    assert "worker-0" in page.text(".tip")
    assert page.complaints == []
    page.close()
