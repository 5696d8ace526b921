"""A page in headless Chromium, driven by ChromeDriver's own protocol; both from Debian's packages."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # It looks for a way to the names of its makers at every start.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
WATCH = """<script>window.faults = []; addEventListener('error', (one) => faults.push(one.message));
addEventListener('securitypolicyviolation', (one) => faults.push(one.blockedURI));
for (const kind of ['error', 'warn']) console[kind] = (...all) => faults.push(all.join(' '));</script>"""
"""For the head of a page: what goes wrong in it is in `faults`."""
NODE = shutil.which("node")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of a reference to an element, by the WebDriver standard."""


class Browser:
    """One window; `ask` sends a command of the WebDriver protocol."""

    def __init__(self, server: str, profile: Path) -> None:
        self._server = server
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {}}}}
        self._session = self._send("POST", "/session", wanted)["sessionId"]

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer to a command of this window."""
        return self._send(method, f"/session/{self._session}{path}", body)

    def open(self, page: Path) -> None:
        self.ask("POST", "/url", {"url": page.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """What a script returns; it may be a promise."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def give_file(self, selector: str, path: Path) -> None:
        """Choose a file in an input of the page."""
        found = self.ask("POST", "/element", {"using": "css selector", "value": selector})
        self.ask("POST", f"/element/{found[ELEMENT]}/value", {"text": str(path.resolve())})

    def wait(self, condition: str, seconds: float = 240) -> None:
        """Until a script's expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, self.run("return document.body.innerText")
            time.sleep(0.1)

    def save_screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self._server + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as fault:
            raise AssertionError(json.load(fault)["value"]["message"]) from None


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """A browser with a new profile in the folder; it ends with the context."""
    assert DRIVER is not None
    command = [DRIVER, "--port=0"]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert driver.stdout is not None
        lines = (line for line in driver.stdout if "on port " in line and "successfully" in line)
        port = next(lines).rpartition("on port ")[2].strip().rstrip(".")
        browser = Browser(f"http://127.0.0.1:{port}", folder / "profile")
        yield browser
        browser.ask("DELETE", "")
    finally:
        driver.terminate()
        driver.wait()
        with suppress(ProcessLookupError):  # what the browser leaves behind
            os.killpg(driver.pid, signal.SIGKILL)


def watched(page: str) -> str:
    """The page, with what goes wrong in it noted in `faults`."""
    return page.replace("<head>", f"<head>{WATCH}", 1)


def check_script(script: Path) -> None:
    """Whether it is JavaScript; AssertionError says what is wrong."""
    assert NODE is not None
    done = subprocess.run([NODE, "--check", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
