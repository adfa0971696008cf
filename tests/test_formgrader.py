"""An instructor's way through nbgrader's formgrader on a graded course, in a real browser."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader")
webdriver = pytest.importorskip("selenium.webdriver")

from selenium.common.exceptions import ElementClickInterceptedException, ElementNotInteractableException, NoAlertPresentException
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from grader import course as courses
from grader import demo
from grader.rubric import load_rubric, notebooks
from tests.attacks import MARKUP
from tests.madeup import made_up
from tests.test_feedback import attack
from tests.test_nbgrader import ONE, PART_1, THREE, answer, gradebook

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")]  # nbgrader's own
KIT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCRIPT = "document.title='gotcha'"
ANSWER = f'My **answer**.<img src=x onerror="{SCRIPT}"><script>{SCRIPT}</script> $\\href{{javascript:alert(1)}}{{x}}$'
DRIVER = shutil.which("chromedriver")
STUDENTS = ("ada", "carla", "eve")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A course of three: one with answers to read, one with a slip and one notebook, one who attacks whoever reads."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    root = tmp_path_factory.mktemp("formgrader")
    course, handins = root / "course", root / "handins"
    courses.open_course(course)
    good = demo.solution_cells(course)
    for student in STUDENTS:
        (handins / student).mkdir(parents=True)
        for name in sorted(notebooks()):
            nb = nbformat.read(course / "release" / "lab04" / f"{name}.ipynb", as_version=4)
            demo.fill(nb, good)
            answer(nb, ANSWER if student == "ada" else "YOUR ANSWER HERE")
            if student == "eve" and name == ONE:
                attack(nb)
            if student == "ada" or name == ONE:
                (handins / student / f"{name}.ipynb").write_text(json.dumps(nb))
    (handins / "carla" / "report.pdf").write_bytes(b"%PDF-1.4")
    grade(handins, course)
    return course


def grade(handins, course):
    """The class, with made-up marks: all but carla's Task 1.1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courses, "grade_all", made_up({"carla": {"1.1": "the wrong shape"}, "eve": {"1.2": MARKUP[1]}}))
        return courses.grade_class(handins, course)


@pytest.fixture(scope="module")
def server(graded):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "server",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
    ]
    command += ["--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"]
    command += ["--ServerApp.jpserver_extensions={'nbgrader.server_extensions.formgrader': True}"]
    binaries = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    private = {
        name: str(graded.parent / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    environment = {**os.environ, **private, "PATH": binaries, "PYTHONPATH": str(KIT)}
    log = open(graded.parent / "server.log", "wb")
    process = subprocess.Popen(command, cwd=graded, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/formgrader", process, graded.parent / "server.log")
        yield address
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def wait_for(address, process, log):
    for _ in range(120):
        try:
            return urllib.request.urlopen(address, timeout=5)
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
    raise AssertionError(f"no answer at {address}\n{log.read_text()}")


@pytest.fixture(scope="module")
def browser(graded, tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
    ]
    for flag in [*flags, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1280,2400"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    options.set_capability("unhandledPromptBehavior", "ignore")  # a dialog that a page opens is to be seen
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


NOT_YET = (ElementClickInterceptedException, ElementNotInteractableException, NoSuchElementException, StaleElementReferenceException)


def see(browser, find, seconds=30):
    """What `find` finds, as soon as it does; formgrader draws its tables anew while they are looked at."""
    return WebDriverWait(browser, seconds, ignored_exceptions=NOT_YET).until(lambda _: find())


def press(browser, find):
    """Click the first element that `find` finds, as soon as it can be clicked."""
    see(browser, lambda: (found := find()) and not found[0].click())


def shoot(browser, element, name):
    """Keep a picture of the page at an element, where UNETLAB_SHOTS names a folder."""
    if folder := os.environ.get("UNETLAB_SHOTS"):
        browser.execute_script("arguments[0].scrollIntoView()", element)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def asked_for(browser) -> set[str]:
    """The addresses that the browser asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}


def attacked(browser) -> list[str]:
    """What the open page did beyond being read: a dialog, a script that ran, an address on another machine."""
    found = []
    with contextlib.suppress(NoAlertPresentException):
        found.append(f"dialog: {browser.switch_to.alert.text}")
        browser.switch_to.alert.dismiss()
    if browser.execute_script("return window.gotcha || document.title.includes('gotcha')"):
        found.append("a script ran")
    return found + sorted(address for address in asked_for(browser) if "/spy" in address)


def open_submission(server, browser, notebook, student):
    """Open a student's notebook in formgrader, and wait until its script has filled in marks and comments."""
    for number in range(len(STUDENTS)):
        browser.get(f"{server}/formgrader/gradebook/lab04/{notebook}")
        press(browser, lambda number=number: browser.find_elements(By.PARTIAL_LINK_TEXT, "Submission #")[number:])
        ready(browser)
        if student in browser.find_element(By.CSS_SELECTOR, ".breadcrumb").get_attribute("textContent"):
            return
    raise AssertionError(f"{student} is not among the submissions of {notebook}")


def ready(browser):
    """Formgrader writes over what is typed before its own data has come."""
    script = "return !!(window.formgrader && formgrader.grades.loaded && formgrader.comments.loaded)"
    see(browser, lambda: browser.execute_script(script))


def write(browser, name, text):
    """Type into a field of formgrader, leave it, and wait until it is saved."""
    field = browser.find_element(By.ID, name)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
    browser.execute_script("window.saved = false; $(document).one('finished_saving', () => window.saved = true)")
    field.clear()
    field.send_keys(text, Keys.TAB)
    see(browser, lambda: browser.execute_script("return window.saved"))


def click(browser, text):
    """Click a link of this text, once it is there."""
    press(browser, lambda: browser.find_elements(By.LINK_TEXT, text))


def test_every_task_has_its_mark_comment_and_card(server, browser):
    full = load_rubric()["1.1"].points
    for student in ("ada", "carla"):
        open_submission(server, browser, ONE, student)
        score, comment = (browser.find_element(By.ID, name) for name in ("check_1_1", "task_1_1-comment"))
        said = comment.get_attribute("value") or comment.get_attribute("placeholder")
        cards = browser.find_elements(By.CSS_SELECTOR, "div[style*='border-left:6px solid'], div[style*='border-left: 6px solid']")
        assert len(cards) == 4 and "Encoder block" in cards[0].text
        shoot(browser, cards[0], f"formgrader_{student}")
        if student == "ada":
            assert float(score.get_attribute("placeholder")) == full and f"{full:g} of {full:g} points" in said
        else:
            assert float(score.get_attribute("placeholder")) == 0 and "✗ failed" in said
            assert "the wrong shape" in cards[0].text and "Likely cause" in cards[0].text


def test_a_written_answer_is_read_and_documents_open(server, browser, graded):
    open_submission(server, browser, THREE, "ada")
    assert "My answer" in browser.find_element(By.TAG_NAME, "body").text
    shoot(browser, browser.find_element(By.ID, "report-comment"), "formgrader_report_ada")
    assert not browser.find_elements(By.CSS_SELECTOR, "a[href^='javascript:alert']")
    open_submission(server, browser, THREE, "carla")
    shoot(browser, browser.find_element(By.ID, "report-comment"), "formgrader_report_carla")
    assert f"{THREE}.ipynb was not handed in" in browser.find_element(By.TAG_NAME, "body").text
    link = browser.find_element(By.LINK_TEXT, "report.pdf").get_attribute("href")
    assert urllib.request.urlopen(link, timeout=10).read().startswith(b"%PDF")


def test_what_students_wrote_does_nothing_to_its_reader(server, browser, graded, tmp_path):
    pages = [(graded / "feedback" / "eve" / "lab04" / f"{ONE}.html").as_uri(), (graded / "feedback" / "ada" / "lab04" / f"{THREE}.html").as_uri()]
    bare = tmp_path / "bare.html"  # the cleaning alone, without the policy that forbids scripts
    text = (graded / "feedback" / "eve" / "lab04" / f"{ONE}.html").read_text()
    bare.write_text(text.replace("Content-Security-Policy", "X"))
    assert "default-src" in bare.read_text()
    for page in [*pages, bare.as_uri()]:
        asked_for(browser)
        browser.get(page)
        time.sleep(1)
        assert "gotcha" in browser.page_source and attacked(browser) == []
    browser.get(pages[0])
    assert not {address for address in asked_for(browser) if not address.startswith(("file:", "data:"))}
    open_submission(server, browser, ONE, "eve")
    assert attacked(browser) == [] and not browser.find_elements(By.CSS_SELECTOR, "a[href*='gotcha']")


def test_an_unsafe_page_is_found_out(browser, tmp_path):
    """The observer itself."""
    for number, text in enumerate((MARKUP[0], MARKUP[1], MARKUP[2])):
        page = tmp_path / f"{number}.html"
        page.write_text(f"<!DOCTYPE html><title>x</title><p>{text}".replace("alert(1);", "alert(1);" * (number == 1)))
        browser.get(page.as_uri())
        time.sleep(1)
        assert attacked(browser), text


def test_from_the_assignment_to_a_mark_a_correction_and_the_feedback(server, browser, graded):
    browser.get(f"{server}/formgrader")
    click(browser, "Manual Grading")
    click(browser, "lab04")
    click(browser, THREE)
    rows = see(browser, lambda: [row.text for row in browser.find_elements(By.CSS_SELECTOR, "table tbody tr") if "Submission" in row.text])
    assert len(rows) == len(STUDENTS)
    open_submission(server, browser, THREE, "ada")
    write(browser, "report", "12")
    write(browser, "report-comment", "Well **argued**, but where are the <seeds>?")
    open_submission(server, browser, ONE, "carla")
    write(browser, "check_1_1", "7.5")
    write(browser, "task_1_1-comment", "The order is all that is wrong.")

    browser.get(f"{server}/formgrader/gradebook/lab04/{ONE}")
    rows = see(browser, lambda: [row.text for row in browser.find_elements(By.CSS_SELECTOR, "table tbody tr") if "Submission" in row.text])
    assert any(f"{PART_1 - 20 + 7.5:g} / {PART_1:g}" in row for row in rows), rows
    shoot(browser, browser.find_element(By.TAG_NAME, "table"), "formgrader_gradebook")

    browser.get(f"{server}/formgrader/manage_submissions/lab04")
    for student in ("ada", "carla"):
        regenerate(browser, student)
    both_are_there(graded)
    grade(graded.parent / "handins", graded)
    both_are_there(graded)


def regenerate(browser, student):
    """Have formgrader write a student's feedback again."""
    rows = "#main-table tr"
    press(browser, lambda: [row.find_element(By.CSS_SELECTOR, ".generate-feedback a")
                            for row in browser.find_elements(By.CSS_SELECTOR, rows) if student in row.text])
    texts = see(browser, lambda: [m.text for m in browser.find_elements(By.CSS_SELECTOR, ".modal") if "feedback" in m.text], 120)
    assert "Successfully generated feedback" in texts[0]
    press(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".modal button.btn-primary, .modal .modal-footer button"))
    see(browser, lambda: not browser.find_elements(By.CSS_SELECTOR, ".modal, .modal-backdrop"))


def both_are_there(course):
    """Marks and comments, in the gradebook and on the students' pages."""
    with gradebook(course) as book:
        report, encoder = (book.find_grade(*ids) for ids in [("report", THREE, "lab04", "ada"), ("check_1_1", ONE, "lab04", "carla")])
        assert (report.manual_score, report.needs_manual_grade) == (12, False)
        assert (encoder.auto_score, encoder.manual_score, encoder.score) == (0, 7.5, 7.5)
    page = (course / "feedback" / "ada" / "lab04" / f"{THREE}.html").read_text()
    assert "12 / 15" in page and "Well <strong>argued</strong>" in page and "<seeds>" not in page
    page = (course / "feedback" / "carla" / "lab04" / f"{ONE}.html").read_text()
    assert "7.5 / 20" in page and "instead of the 0 of the automatic checks" in page and "The order is all that is wrong." in page
