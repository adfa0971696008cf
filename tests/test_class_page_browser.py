"""The class page in a real browser: its script sorts and filters, no other script runs, nothing sticks out of a phone."""

import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver")

from selenium.webdriver.common.by import By

from grader.class_page import write_class_page
from tests.made_up_class import made_up_report

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
EVIL = "<img src=x onerror=\"document.title='gotcha'\"><script>document.title='gotcha'</script>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
        "--window-size=1280,1600",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    report = made_up_report(40)
    report["submissions"][0]["student"] = EVIL
    path = write_class_page(report, tmp_path_factory.mktemp("page") / "class.html")
    browser.get(path.as_uri())
    return browser


def column(page, number):
    cells = page.find_elements(By.CSS_SELECTOR, f".marks tbody tr:not([hidden]) td:nth-child({number + 1})")
    return [cell.text for cell in cells]


def test_marks_are_sorted_by_a_click_and_back_by_another(page):
    head = page.find_element(By.CSS_SELECTOR, "th[data-column='1'] button")
    head.click()
    marks = [float(text.replace("↷", "").replace("?", "-1")) for text in column(page, 1)]
    assert marks == sorted(marks, reverse=True) and len(set(marks)) > 3
    head.click()
    assert [float(text.replace("↷", "").replace("?", "-1")) for text in column(page, 1)] == sorted(marks)
    page.find_element(By.CSS_SELECTOR, "th[data-column='0'] button").click()
    assert column(page, 0)[1:3] == ["student_0001", "student_0002"]


def test_the_last_column_is_the_total(page):
    head = page.find_elements(By.CSS_SELECTOR, "th[data-column]")
    last = max(int(cell.get_attribute("data-column")) for cell in head)
    assert all("/" in text or text == "ungraded" for text in column(page, last)) and column(page, last + 1) == []


def test_the_table_is_filtered_by_name(page):
    box = page.find_element(By.CSS_SELECTOR, ".filter input")
    box.send_keys("_0012")
    assert column(page, 0) == ["student_0012"]
    box.clear()
    box.send_keys(" ")
    assert len(column(page, 0)) == 40


def test_no_script_of_a_student_runs_and_nothing_is_loaded(page):
    assert page.title == "lab04: the class" and page.find_elements(By.CSS_SELECTOR, "img, iframe, object") == []
    assert [entry for entry in page.get_log("browser") if "favicon" not in entry["message"]] == []
    page.execute_cdp_cmd(
        "Runtime.evaluate",
        {"expression": "document.body.append(Object.assign(document.createElement('script'), {text: \"document.title='gotcha'\"}))"},
    )
    assert page.title == "lab04: the class"


@pytest.mark.parametrize("width", [400, 1000, 1400])
def test_it_is_no_wider_than_the_window(page, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    )
    wide = page.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
