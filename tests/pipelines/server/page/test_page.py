"""The page as a person uses it: a real browser, a real server, a small model."""

import base64
import re
import time

import numpy as np
import openai
import pytest
import soundfile
from browser import look, open_browser, take_screenshot
from PIL import Image, ImageDraw
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from server_process import running, serve_command
from taught_model import WHO, WHO_ANSWER, WHO_REASONING

import dvse

DESK, PHONE = (1200, 860), (320, 640)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture of 8 × 8 codes, half a second of sound, and files that are neither."""
    folder = tmp_path_factory.mktemp("files")
    picture = Image.new("RGB", (32, 32), "#dfeaf2")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 22, 32, 32), fill="#6f9d5c")
    draw.rectangle((8, 12, 20, 26), fill="#b5543c")
    draw.ellipse((22, 3, 29, 10), fill="#f2c14e")
    picture.save(folder / "house.png")
    times = np.arange(8000) / 16000
    sound = 0.4 * np.sin(2 * np.pi * (200 * times + 600 * times**2))
    soundfile.write(folder / "sweep.wav", sound, 16000)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    (folder / "notes.txt").write_text("words")
    return folder


@pytest.fixture(scope="module")
def locked_server(random_model, tmp_path_factory):
    """A server that asks for a key; its random model talks until it is stopped."""
    log = tmp_path_factory.mktemp("server") / "log"
    with running(serve_command(random_model, "--api-key", "sesame"), log) as address:
        yield address


@pytest.fixture(scope="module")
def one_browser(files):
    microphone = f"--use-file-for-fake-audio-capture={files / 'sweep.wav'}"
    flags = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", microphone)
    with open_browser(*flags) as browser:
        yield browser


class Page:
    """What a person does on the page and sees there."""

    def __init__(self, browser, address):
        self.browser = browser
        look(browser, *DESK)
        browser.get(address)
        self.wait(lambda: self("model").is_enabled() or self("key-form").is_displayed())

    def __call__(self, element_id):
        return self.browser.find_element(By.ID, element_id)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition, seconds=90):
        return WebDriverWait(self.browser, seconds, 0.05).until(lambda _: condition())

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def choose(self, path):
        self("file").send_keys(str(path))
        self.wait(lambda: self("error").is_displayed() or self.has_tokens_of(path.name))

    def has_tokens_of(self, name):
        return self("ids-fold").is_displayed() and self("media-name").text == name

    def view(self, name):
        self.all(f".segments label:has([value={name}])")[0].click()

    def ask(self, question, max_tokens=12):
        self.run("document.getElementById('max-tokens').value = arguments[0]", max_tokens)
        self("question").send_keys(question + Keys.ENTER)
        self.wait(lambda: self("send").is_displayed())

    @property
    def ids(self):
        return [int(i) for i in self("ids").get_attribute("textContent").split()]

    @property
    def answer(self):
        return self.all(".turn:last-child .answer")[0].get_attribute("textContent")


@pytest.fixture
def page(one_browser, taught_server):
    yield Page(one_browser, taught_server)
    # What the server refused is logged by the browser itself; anything else is a fault of ours.
    said = [e["message"] for e in one_browser.get_log("browser") if e["level"] == "SEVERE"]
    assert [m for m in said if "the server responded with a status of" not in m] == []


@pytest.fixture(scope="module")
def tokenizer():
    return dvse.load("tiny")


def pixel(page, canvas, x, y):
    """The colour of a canvas at shares of its width and height."""
    return page.run(
        """
        const canvas = document.getElementById(arguments[0]);
        const [x, y] = [arguments[1] * canvas.width, arguments[2] * canvas.height];
        return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data];
        """,
        canvas,
        x,
        y,
    )


def test_a_picture_and_its_tokens(page, files, tokenizer):
    page.choose(files / "house.png")
    encoding = tokenizer.encode(dvse.Image(str(files / "house.png")))
    assert page.ids == encoding.ids.tolist()
    assert page("readout").text == f"8 × 8 codes, {len(encoding)} tokens in all"
    segment = next(s for s in tokenizer.decode(encoding.ids) if s.modality == "image")
    take_screenshot(page.browser, "picture-desk")

    page.view("codes")
    colours = {}
    for row in range(8):
        for column in range(8):
            colour = pixel(page, "grid", (column + 0.06) / 8, (row + 0.08) / 8)
            assert colour[3] == 255
            colours.setdefault(int(segment.codes[row, column, 0]), set()).add(tuple(colour))
    # Equal codes have equal colours, different codes different ones.
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == len(colours)
    page.view("picture")
    assert pixel(page, "grid", 0.5, 0.5)[3] == 0

    page("grid").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    code = segment.codes[1, 1, 0]
    assert page("readout").text == f"Row 2, column 2: code {code}"
    page("grid").send_keys(Keys.END)
    assert page("readout").text == f"Row 8, column 8: code {segment.codes[7, 7, 0]}"


def test_a_picture_drawn_again_from_its_codes(page, files, tokenizer):
    page.choose(files / "house.png")
    page.view("rebuilt")
    page.wait(lambda: page("rebuilt").is_displayed())
    size = "const i = document.getElementById('rebuilt'); return [i.naturalWidth, i.naturalHeight]"
    page.wait(lambda: page.run(size) == [32, 32])
    shown = page.run(
        """
        const pen = document.createElement("canvas").getContext("2d");
        pen.drawImage(document.getElementById("rebuilt"), 0, 0);
        return [...pen.getImageData(0, 0, 32, 32).data];
        """
    )
    segment = next(s for s in tokenizer.decode(page.ids) if s.modality == "image")
    assert (np.reshape(shown, (32, 32, 4))[..., :3] == segment.pixels).all()
    take_screenshot(page.browser, "rebuilt-desk")
    page("remove").click()
    assert not page("shown").is_displayed()


def test_a_recording_and_its_units(page, files, tokenizer):
    look(page.browser, *DESK, dark=True)
    page.choose(files / "sweep.wav")
    encoding = tokenizer.encode(dvse.Audio(str(files / "sweep.wav")))
    assert page.ids == encoding.ids.tolist()
    num_units = len(encoding) - 2
    assert page("readout").text == f"{num_units} units in 0.5 s, 50 a second"
    # The sweep rises from 200 to 800 Hz: early the loud band is low, later it is higher.
    loudest = [
        max(range(30, 100), key=lambda y: sum(pixel(page, "spectrogram", x, y / 100)[:3]))
        for x in (0.1, 0.9)
    ]
    assert loudest[0] > loudest[1]
    page("units").send_keys(Keys.HOME)
    first = next(s for s in tokenizer.decode(encoding.ids) if s.modality == "audio").units[0, 0]
    assert page("readout").text.startswith(f"0.00 s: unit {first}")
    take_screenshot(page.browser, "recording-dark")


def test_a_sentence_from_the_microphone(page):
    look(page.browser, *PHONE, touch=True)
    page("record").click()
    page.wait(lambda: float((page("recording-time").text or "0").split()[0]) > 0.6)
    assert float(page("level").get_attribute("value")) > 0.1
    take_screenshot(page.browser, "recording-phone")
    page("record").click()
    page.wait(lambda: page("ids-fold").is_displayed())
    assert page("media-name").text == "recording.wav"
    found = re.fullmatch(r"(\d+) units in ([\d.]+) s, 50 a second", page("readout").text)
    assert float(found[2]) >= 0.6
    assert int(found[1]) == pytest.approx(50 * float(found[2]), abs=4)
    page.wait(lambda: page.run("return document.getElementById('player').duration") > 0.5)
    assert page.run("return document.documentElement.scrollWidth") <= PHONE[0]
    take_screenshot(page.browser, "recorded-phone")


def test_the_answer_is_the_one_that_any_client_gets(page, files, taught_server):
    page.choose(files / "house.png")
    page.ask("What is this?")
    data = base64.b64encode((files / "house.png").read_bytes()).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "text", "text": "What is this?"},
    ]
    with openai.OpenAI(base_url=f"{taught_server}/v1", api_key="EMPTY") as client:
        expected = client.chat.completions.create(
            model="autoglm-phone-9b",
            messages=[{"role": "user", "content": parts}],
            temperature=0,
            max_tokens=12,
        )
    assert page.answer == expected.choices[0].message.content
    usage = expected.usage
    words = f"{usage.prompt_tokens} tokens read, {usage.completion_tokens} written"
    assert page.all(".facts")[0].text.startswith(words)
    assert page.all(".asked")[0].text == "house.png\nWhat is this?"
    take_screenshot(page.browser, "answer-desk")


def test_an_example_is_asked_with_a_click_and_its_thinking_is_folded(page):
    look(page.browser, *PHONE, dark=True, touch=True)
    page("think").click()
    chinese = page.all("#examples button:lang(zh)")
    if chinese:  # offered where this machine has a font for it
        assert chinese[0].text == WHO
        chinese[0].click()
    else:
        page("question").send_keys(WHO + Keys.ENTER)
    page.wait(lambda: page.all(".facts"))
    assert page.answer == WHO_ANSWER
    fold = page.all(".thinking")[0]
    assert not fold.get_attribute("open")
    summary = fold.find_element(By.TAG_NAME, "summary")
    assert re.fullmatch(r"Thought for [\d.]+ s", summary.text)
    take_screenshot(page.browser, "thought-phone-dark")
    summary.click()
    assert fold.find_element(By.TAG_NAME, "p").text == WHO_REASONING
    page("think").click()
    page.ask(WHO)
    assert len(page.all(".turn")) == 2
    assert len(page.all(".thinking")) == 1


GIVE = """
const bytes = Uint8Array.from(atob(arguments[1]), (c) => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], "given.png", { type: "image/png" }));
const event = arguments[0] === "paste"
  ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
  : new DragEvent("drop", { dataTransfer: data, bubbles: true });
document.getElementById("drop").dispatchEvent(event);
"""


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_a_picture_that_is_pasted_or_dropped(page, files, way):
    page.run(GIVE, way, base64.b64encode((files / "house.png").read_bytes()).decode())
    page.wait(lambda: page("ids-fold").is_displayed())
    assert page("media-name").text == "given.png"
    assert page("readout").text.startswith("8 × 8 codes")


def test_words_for_people_where_something_goes_wrong(page, files):
    page.choose(files / "notes.txt")
    assert page("error").text == "“notes.txt” is neither a picture nor a recording."
    assert page("error").get_attribute("role") == "alert"
    page("file").send_keys(str(files / "broken.png"))
    page.wait(lambda: page("shown").is_displayed() and page("error").is_displayed())
    assert page("readout").text == "No tokens."
    assert re.fullmatch(r"[A-Z][^\n]{10,300}\.", page("error").text)
    take_screenshot(page.browser, "error-desk")
    page("remove").click()

    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    page.ask("hello")
    assert page.all(".failed")[0].text == "The server does not answer. Is it still running?"
    page.browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        offline | {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1},
    )
    page.browser.get_log("browser")  # the browser's own note that the network is gone
    page.ask("hello")
    assert page.all(".turn:last-child .facts")


def test_enter_in_an_input_method_does_not_send(page):
    page("question").send_keys("ni")
    page.run(
        """
        const keys = { key: "Enter", isComposing: true, bubbles: true, cancelable: true };
        document.getElementById("question").dispatchEvent(new KeyboardEvent("keydown", keys));
        """
    )
    assert page.all(".turn") == []
    page("question").send_keys(Keys.SHIFT + Keys.ENTER)
    assert page.all(".turn") == []
    assert page("question").get_attribute("value") == "ni\n"


def test_by_keyboard_alone(page, files):
    page.choose(files / "house.png")
    page.run("document.activeElement.blur(); scrollTo(0, 0)")
    seen = []
    for _ in range(20):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        place = page.run(
            """
            const e = document.activeElement;
            const ring = getComputedStyle(e.closest(".segments label") ?? e);
            const name = e === document.body ? "BODY" : e.id || e.className || e.tagName;
            return [name, ring.outlineStyle !== "none"];
            """
        )
        if place[0] == "BODY" or seen[:1] == place[:1]:
            break
        seen.append(place[0])
        assert place[1], f"no ring around {place[0]}"
    assert seen[0] == "skip"
    order = ["choose", "record", "remove", "grid", "both", "question", "think", "send"]
    assert [name for name in seen if name in order] == order


def test_every_control_has_a_name(page, files):
    page.choose(files / "house.png")
    page.ask("hello")
    tree = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    nameless = [
        node["role"]["value"]
        for node in tree
        if not node.get("ignored")
        and {"name": "focusable", "value": {"type": "booleanOrUndefined", "value": True}}
        in node.get("properties", [])
        and node["role"]["value"] != "RootWebArea"
        and not node.get("name", {}).get("value")
    ]
    # The ids are a plain paragraph that scrolls: its text is its content.
    assert [role for role in nameless if role != "paragraph"] == []


CONTRAST = """
const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const light = ([r, g, b]) => [r, g, b]
  .map((v) => v / 255)
  .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const colour = rgb(getComputedStyle(e).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const poor = [];
for (const e of document.querySelectorAll("body *")) {
  const words = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!words || !e.checkVisibility() || e.matches("option, :disabled")) continue;
  const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(`${e.tagName}.${e.className}#${e.id}: ${ratio.toFixed(2)}`);
}
return poor;
"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESK, PHONE])
def test_readable_in_light_and_dark_on_every_screen(page, files, dark, size):
    look(page.browser, *size, dark=dark, touch=size == PHONE)
    name = f"{'phone' if size == PHONE else 'desk'}-{'dark' if dark else 'light'}"
    take_screenshot(page.browser, f"empty-{name}")
    page.choose(files / "notes.txt")
    page.choose(files / "house.png")
    page("think").click()
    page.ask("What is this?", max_tokens=24)
    page.choose(files / "sweep.wav")
    for fold in page.all("details > summary"):
        if fold.is_displayed():
            fold.click()
    assert page.run(CONTRAST) == []
    assert page.run("return document.documentElement.scrollWidth") <= size[0]
    take_screenshot(page.browser, f"full-{name}")


@pytest.fixture(scope="module")
def shipped_server(tmp_path_factory):
    with running(serve_command("tiny"), tmp_path_factory.mktemp("tiny") / "log") as address:
        yield address


def test_the_model_introduces_itself_and_its_samples_are_asked_with_a_click(
    one_browser, shipped_server
):
    page = Page(one_browser, shipped_server)
    page.wait(lambda: len(page.all("#samples button")) == 3)
    assert page("knows").text.startswith("Knows: Ten kinds of 32×32 pictures")
    take_screenshot(page.browser, "samples-desk")
    for number, (name, words) in enumerate(
        [("cat.png", "cat"), ("three-one-four.flac", "three one four"), ("house.png", "none of")]
    ):
        page.all("#samples button")[number].click()
        page.wait(lambda count=number + 1: len(page.all(".facts")) == count)
        assert page("media-name").text == name
        assert words in page.answer
    marks = [turn.find_elements(By.CSS_SELECTOR, ".refused") for turn in page.all(".turn")]
    assert [len(found) for found in marks] == [0, 0, 1]
    look(page.browser, *PHONE, dark=True, touch=True)
    assert page.run(CONTRAST) == []
    assert page.run("return document.documentElement.scrollWidth") <= PHONE[0]
    take_screenshot(page.browser, "samples-phone-dark")


def test_units_come_while_one_speaks(one_browser, shipped_server):
    page = Page(one_browser, shipped_server)
    page("record").click()
    page.wait(lambda: len(page.all("#live-units li")) > 2)
    assert all(unit.text.isdigit() for unit in page.all("#live-units li"))
    take_screenshot(page.browser, "live-units")
    page("record").click()
    page.wait(lambda: page("ids-fold").is_displayed())
    assert not page("live-units").is_displayed()


def test_letters_without_a_font_are_not_offered(page):
    found = page.run(
        """
        return import("/page/introduction.js").then(({ canWrite }) =>
          [canWrite("Who are you?"), canWrite(String.fromCodePoint(0x10FFFD))]);
        """
    )
    assert found == [True, False]


def test_nothing_comes_from_elsewhere(page, files, taught_server):
    page.choose(files / "house.png")
    names = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(names) > 8
    assert all(name.startswith((taught_server, f"blob:{taught_server}")) for name in names)


_STOP_AT_FIRST_WORDS = """
new MutationObserver((_, observer) => {
  const answer = document.querySelector(".answer"), stop = document.getElementById("stop");
  if (!answer || !answer.textContent) return;
  observer.disconnect();
  window.midway = {busy: answer.getAttribute("aria-busy"), canStop: stop.checkVisibility()};
  stop.click();
}).observe(document.body, {childList: true, subtree: true, characterData: true});
"""


def test_a_server_that_asks_for_a_key_and_an_answer_that_is_stopped(one_browser, locked_server):
    page = Page(one_browser, locked_server)
    assert page("error").text == "The server asks for an API key."
    page("key").send_keys("wrong" + Keys.ENTER)
    page.wait(lambda: page("error").text == "The server does not know this key.")
    take_screenshot(page.browser, "key-desk")
    page("key").clear()
    page("key").send_keys("sesame" + Keys.ENTER)
    page.wait(lambda: page("model").is_enabled())
    assert not page("key-form").is_displayed()

    # Stopped by the page itself at the answer's first words: a browser told from outside may come
    # when the answer is over.
    page.run(_STOP_AT_FIRST_WORDS)
    page("question").send_keys("hello" + Keys.ENTER)
    page.wait(lambda: page.run("return window.midway"))
    assert page.run("return window.midway") == {"busy": "true", "canStop": True}
    page.wait(lambda: page("send").is_displayed())
    assert page.all(".facts")[0].text == "stopped"
    assert page.all(".answer")[0].get_attribute("aria-busy") == "false"
    stopped = page.answer
    time.sleep(0.2)
    assert page.answer == stopped
    page.browser.get_log("browser")
