"""The page in Debian's Chromium, by the keyboard alone."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys

import pytest

from algorithms.ratings import Rating
from orchestrator.ratings.people.opinions import PeopleStore
from orchestrator.ratings.store import RatingStore
from tests.fakes.small_store import IDENTITY, SAMPLING, png, question

NUMBER = 300
PATIENCE_S = 60
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium: apt install chromium chromium-driver"),
]


@pytest.fixture
def folder(tmp_path):
    """300 ratings, the first of a sequence; what the model said is `secret` and its number."""
    asked = [(question(0, frames=(png(0), png(1)), success=None), 0), *((question(n), n) for n in range(1, NUMBER))]
    RatingStore(tmp_path).append(
        [(one, Rating(f"key{n}", n % 3, (0.2, 0.5, 0.3), f"secret{n}", 9, 9, 0.1)) for one, n in asked],
        IDENTITY, SAMPLING, "run-a",
    )  # fmt: skip
    return tmp_path


@pytest.fixture
def gallery(folder):
    """The program, as a stranger starts it, and its link."""
    child = subprocess.Popen(
        [sys.executable, "-c", "from orchestrator.cli.main import main; main()", "gallery", str(folder)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield child, child.stdout.readline().strip()
    child.kill()
    child.wait()


@pytest.fixture
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--window-size=1280,860", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    if os.getuid() == 0:
        options.add_argument("--no-sandbox")
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def test_a_person_rates_by_keyboard_alone_and_a_kill_loses_nothing(gallery, browser, folder):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    child, link = gallery

    def until(script):
        """Wait until this expression is true."""
        return WebDriverWait(browser, PATIENCE_S, 0.05).until(lambda _: browser.execute_script(f"return {script}"))

    def press(*keys):
        browser.switch_to.active_element.send_keys(*keys)

    def text_of(name):
        return browser.execute_script(f"return document.getElementById('{name}').innerText")

    def told():
        return [(row["key"], row["said"], row["level"], row["answer_seen"]) for row in PeopleStore(folder).opinions()]

    browser.get(link)
    drawn = "[...document.querySelectorAll('.card img')].filter(one => one.complete && one.naturalWidth).length"
    until(f"{drawn} > 5")
    # Of hundreds only those in sight exist; the last one is a key away.
    assert browser.execute_script("return document.querySelectorAll('.card').length") < 100
    assert text_of("count") == "300 of 300"
    press("b")
    until("document.activeElement.className === 'card'")
    press(Keys.END)
    until(
        f"document.activeElement.dataset.place === '{NUMBER - 1}' && document.activeElement.innerText.includes('0.3')"
    )
    press(Keys.ENTER)
    until("document.getElementById('detail').open")
    assert f"secret{NUMBER - 1}" in text_of("detail-text") and f"{NUMBER} of {NUMBER}" in text_of("detail-text")
    press(Keys.ARROW_LEFT)
    until(f"document.getElementById('detail-text').innerText.includes('secret{NUMBER - 2}')")
    press(Keys.ESCAPE)
    until("!document.getElementById('detail').open")

    press("r")
    until("document.activeElement.name === 'person'")
    press("Ada Lovelace", Keys.ENTER)
    until("document.activeElement.id === 'instruction'")
    assert len(browser.execute_script("return [...document.querySelectorAll('#pictures img')]")) == 2
    assert "secret" not in text_of("question") and "1 of 300" in text_of("progress")
    press("2")
    until("!document.getElementById('answer').hidden")
    assert "Saved: Average." in text_of("answer") and "secret0" in text_of("answer")
    # The grid had shown what the model said of the first ones.
    until("document.getElementById('agreement').innerText.includes('Of 1 you had seen the answer before')")
    assert "kappa" not in text_of("agreement")
    # In sight, and the next key goes on.
    assert until("document.getElementById('answer').getBoundingClientRect().top < innerHeight")
    expected = [("key0", "level", 1)]
    for key, said, level in (("1", "level", 0), ("c", "cannot_tell", None), ("p", "pass", None), ("3", "level", 2)):
        press(Keys.ARROW_RIGHT)
        number = len(expected)
        until(f"document.getElementById('progress').innerText.startsWith('{number + 1} of')")
        press(key)
        until("!document.getElementById('answer').hidden")
        expected.append((f"key{number}", said, level))
    # A second opinion is a further row.
    press("a")
    until("!document.getElementById('levels').hidden")
    press("1")
    until("!document.getElementById('answer').hidden")
    expected.append(("key4", "level", 0))
    until("document.getElementById('agreement').innerText.includes('Of 3 you had seen')")
    # Shuffled, most were never in sight.
    browser.execute_script(
        "const order = document.getElementById('filters').order; order.value = 'shuffled';"
        "order.dispatchEvent(new Event('input', { bubbles: true }))"
    )
    until("document.getElementById('progress').innerText.startsWith('1 of')")
    shuffled = sorted((f"key{n}" for n in range(NUMBER)), key=lambda key: hashlib.sha256(key.encode()).digest())
    for number, key in enumerate(shuffled[:6]):
        until(f"document.getElementById('progress').innerText.startsWith('{number + 1} of')")
        press("1")
        until("!document.getElementById('answer').hidden")
        expected.append((key, "level", 0))
        press(Keys.ARROW_RIGHT)
    until("document.querySelectorAll('#agreement td').length === 9")
    assert "rated here: the same level" in text_of("agreement") and "NaN" not in text_of("agreement")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert [row[:3] for row in told()] == expected and told()[5][3] and not all(row[3] for row in told())
    press(Keys.ARROW_RIGHT)
    until("document.getElementById('told').innerText.includes('Is the gallery still running?')")

    outside = browser.execute_script(
        "return performance.getEntriesByType('resource').map(one => one.name)"
        ".filter(name => !name.startsWith(arguments[0]))", link,
    )  # fmt: skip
    assert outside == []
    problems = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert [one for one in problems if "ERR_CONNECTION_REFUSED" not in one] == []
