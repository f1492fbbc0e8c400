"""The recipes of docs/app/recipes.md that are for a shell or for Node, as they stand there."""

import functools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import installs
from tests.clients.acts import LIFE
from tests.clients.home import Home, home
from tests.journeys.conftest import on_this_machine  # noqa: F401 - a fixture
from tests.journeys.deployment import Deployment
from tests.support.documents import ROOT, blocks
from tests.support.engine import eventually
from tests.support.needs import need

PICTURE = (ROOT / "tests" / "photos" / "china.jpg").read_bytes()
NATIVE = """
import { photos } from "./photos.js";

const vend = async () => {
  const headers = { Authorization: `Bearer ${process.env.TOKEN}`, "Content-Type": "application/json" };
  return (await fetch(`${process.env.SERVICE}/v1/credentials`, { method: "POST", headers, body: "{}" })).json();
};
const mine = await photos(vend);
await mine.put("beach.jpg", new Uint8Array(5000).fill(7), "image/jpeg");
console.log(JSON.stringify([...(await mine.get("beach.jpg"))].every((byte) => byte === 7)));
"""

POLYFILLS = ("react-native-get-random-values", "react-native-url-polyfill/auto", "web-streams-polyfill/polyfill")

pytestmark = pytest.mark.xdist_group("clients")


@pytest.fixture
def at(on_this_machine: Deployment, tmp_path: Path) -> Iterator[Home]:  # noqa: F811
    """With the profile and the section for rclone that the documents show."""
    with home(on_this_machine, tmp_path) as made:
        terminal = made.terminal
        path = [str(installs.python("programs").parent), terminal.environment["PATH"]]
        terminal.environment["PATH"] = os.pathsep.join(path)
        for place, page, text in (
            (".aws/config", "shell.md", "credential_process"),
            (".config/rclone/rclone.conf", "recipes.md", "no_check_bucket"),
        ):
            file = terminal.home / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(shown(made, text, page))
        yield made


def shown(at: Home, text: str, page: str = "recipes.md") -> str:
    """The block that has the text, with this person's engine and prefix in it."""
    (code,) = [block.code for block in blocks(ROOT / "docs" / "app" / page) if text in block.code]
    here = {"http://127.0.0.1:8333": at.deployment.endpoint_url, "users/4fa0…/": at.prefix}
    return functools.reduce(lambda code, each: code.replace(*each), here.items(), code)


@pytest.mark.long
def test_rclone_mounts_the_folder_and_renews_its_keys(at: Home) -> None:
    need("fuse")
    folder = at.terminal.home / "photos"
    folder.mkdir()
    at.near.life = LIFE
    mount = at.terminal.start("sh", "-c", f"exec env {shown(at, 'rclone mount')}")
    try:
        assert eventually(folder.is_mount) or pytest.fail(mount.communicate(timeout=5)[1])
        (folder / "album 1").mkdir()
        (folder / "album 1" / "china.jpg").write_bytes(PICTURE)
        key = f"{at.prefix}album 1/china.jpg"
        assert eventually(lambda: key in at.deployment.objects(at.prefix))
        asked = at.near.vends

        def is_renewed(*, file: Path = folder / "album 1" / "china.jpg") -> bool:
            file.rename(file.with_name("moved.jpg"))
            file.with_name("moved.jpg").rename(file)
            return at.near.vends > asked

        assert eventually(is_renewed)
        assert (folder / "album 1" / "china.jpg").read_bytes() == PICTURE
    finally:
        mount.send_signal(signal.SIGINT)  # it unmounts
        mount.communicate(timeout=60)


@pytest.mark.long
def test_restic_backs_up_and_restores_through_rclone(at: Home) -> None:
    need("restic")
    pictures = at.terminal.home / "Pictures"
    pictures.mkdir()
    (pictures / "china.jpg").write_bytes(PICTURE)
    done = at.terminal.run("sh", "-euc", shown(at, "restic init"), RESTIC_PASSWORD="violet tractor")
    assert done.returncode == 0, done.stderr
    restored = at.terminal.home / "restored" / pictures.relative_to("/") / "china.jpg"
    assert restored.read_bytes() == PICTURE


@pytest.mark.long
def test_react_native_puts_and_gets(at: Home) -> None:
    packages, directory = installs.node() / "node_modules", at.terminal.home
    (directory / "photos.js").write_text(shown(at, "react-native-url-polyfill"))
    (directory / "main.js").write_text(NATIVE)
    bundle = [str(packages / ".bin" / "esbuild"), "main.js", "--bundle", "--outfile=out.mjs", "--log-level=error"]
    # As Metro does; what only a device has, Node has of its own.
    bundle += ["--format=esm", "--platform=browser", "--main-fields=react-native,browser,module,main"]
    bundle += ["--conditions=react-native"]
    bundle += [f"--alias:{one}=./nothing.js" for one in POLYFILLS]
    (directory / "nothing.js").write_text("")
    done = at.terminal.run(*bundle, NODE_PATH=str(packages))
    assert done.returncode == 0, done.stderr
    token = at.terminal.store.get().tokens.access_token
    done = at.terminal.run("node", "out.mjs", TOKEN=token, SERVICE=at.near.url)
    assert json.loads(done.stdout or "null") is True, done.stderr
