"""An instructor's way through nbgrader's formgrader on a graded course, in a real browser."""

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

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from grader import course as courses
from grader import demo
from grader.rubric import notebooks
from tests.test_nbgrader import ONE, PART_1, THREE, answer, judged_quickly

pytestmark = pytest.mark.browser
KIT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCRIPT = "document.title='gotcha'"
ANSWER = f'My **answer**.<img src=x onerror="{SCRIPT}"><script>{SCRIPT}</script> $\\href{{javascript:alert(1)}}{{x}}$'
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    root = tmp_path_factory.mktemp("formgrader")
    course, handins = root / "course", root / "handins"
    courses.open_course(course)
    good = demo.solution_cells(course)
    swapped = {**good, "task_1_1": demo.changed(good["task_1_1"], "return features, pooled", "return pooled, features")}
    for student, cells in {"ada": good, "carla": swapped}.items():
        (handins / student).mkdir(parents=True)
        for name in sorted(notebooks()):
            nb = nbformat.read(course / "release" / "lab04" / f"{name}.ipynb", as_version=4)
            demo.fill(nb, cells)
            answer(nb, ANSWER if student == "ada" else "YOUR ANSWER HERE")
            if student == "ada" or name == ONE:
                nbformat.write(nb, handins / student / f"{name}.ipynb")
    (handins / "carla" / "report.pdf").write_bytes(b"%PDF-1.4")
    judged_quickly.real = courses.grade_all
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courses, "grade_all", judged_quickly)
        courses.grade_class(handins, course)
    return course


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
        process.wait(20)
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
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def see(browser, find, seconds=30):
    return WebDriverWait(browser, seconds).until(lambda _: find())


def shoot(browser, element, name):
    """Keep a picture of the page at an element, where UNETLAB_SHOTS names a folder."""
    if folder := os.environ.get("UNETLAB_SHOTS"):
        browser.execute_script("arguments[0].scrollIntoView()", element)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_from_the_gradebook_to_a_students_score_and_comment(server, browser):
    browser.get(f"{server}/formgrader/gradebook/lab04/{ONE}")
    links = see(browser, lambda: browser.find_elements(By.PARTIAL_LINK_TEXT, "Submission #"))
    assert len(links) == 2
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "table tbody tr")]
    assert any(f"{PART_1:g}" in row for row in rows)
    seen = {}
    for number in range(2):
        browser.get(f"{server}/formgrader/gradebook/lab04/{ONE}")
        see(browser, lambda: browser.find_elements(By.PARTIAL_LINK_TEXT, "Submission #"))[number].click()
        score = see(browser, lambda: browser.find_element(By.ID, "check_1_1"))
        see(browser, lambda score=score: score.get_attribute("placeholder"))
        comment = browser.find_element(By.ID, "task_1_1-comment")
        see(browser, lambda comment=comment: comment.get_attribute("placeholder") or comment.get_attribute("value"))
        text = comment.get_attribute("value") or comment.get_attribute("placeholder")
        seen[float(score.get_attribute("placeholder"))] = text
        assert "Encoder block" in browser.find_element(By.TAG_NAME, "body").text  # the card
        shoot(browser, comment, f"formgrader_{number}")
    full = max(seen)
    assert full == 20 and "20 of 20 points" in seen[full]
    assert min(seen) < 20 and "✗ failed" in seen[min(seen)]


def open_submission(server, browser, notebook, number):
    browser.get(f"{server}/formgrader/gradebook/lab04/{notebook}")
    see(browser, lambda: browser.find_elements(By.PARTIAL_LINK_TEXT, "Submission #"))[number].click()
    return see(browser, lambda: browser.find_element(By.ID, "report"))


def test_a_written_answer_is_read_and_marked_by_hand(server, browser, graded):
    seen = {}
    for number in range(2):
        score = open_submission(server, browser, THREE, number)
        body = browser.find_element(By.TAG_NAME, "body").text
        student = "ada" if "My answer" in body else "carla"
        shoot(browser, browser.find_element(By.ID, "report-comment"), f"formgrader_report_{student}")
        assert "gotcha" not in browser.title and not browser.find_elements(By.CSS_SELECTOR, "a[href^='javascript:alert']")
        assert f"{THREE}.ipynb was not handed in" in body or student == "ada"
        seen[student] = number
        if student == "carla":
            assert browser.find_element(By.LINK_TEXT, "report.pdf").get_attribute("href").endswith("/report.pdf")
            link = browser.find_element(By.LINK_TEXT, "report.pdf").get_attribute("href")
            assert urllib.request.urlopen(link, timeout=10).read().startswith(b"%PDF")
    assert set(seen) == {"ada", "carla"}
    score = open_submission(server, browser, THREE, seen["ada"])
    time.sleep(1)  # formgrader's own script loads the grades, and would write over what is typed before
    score.send_keys("12")
    score.send_keys(Keys.TAB)
    see(browser, lambda: courses.manual_marks(courses.open_course(graded), "ada")["report"]["status"] == "marked")
    assert courses.manual_marks(courses.open_course(graded), "ada")["report"]["score"] == 12
