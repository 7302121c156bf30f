# SPDX-License-Identifier: Apache-2.0
"""Debian roots in a folder: of an architecture, of a suite, with the packages named, and nothing else.

Packages are resolved and fetched by apt with a configuration of its own, and unpacked. None of their configuration
scripts is run: under emulation they take many minutes. What they would have made and Python needs is made here: users,
`/bin/sh`, `/etc/hosts`, certificates. The mirror and its proxy are those of this machine's apt.

A root is made once, and is read-only to what runs in it. Its Python is Debian's (PEP 668: `pip install` into it is
refused): make an environment, which needs python3-venv, in a folder that is bound into the root.

debootstrap and mmdebstrap are not used: they would have to be installed, and neither unpacks to a finished state
without running scripts.
"""

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

CACHE = Path(__file__).resolve().parents[3] / ".cache" / "roots"

# To be raised when a root is made differently: those of before are not used any more.
RECIPE = 1

# What programs expect of any Debian.
BASE = ("base-files", "base-passwd", "bash", "coreutils", "dash", "grep", "libc-bin", "sed", "tzdata")

# Debian's names, and how qemu calls the same.
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "arm"}

# ELF header of each: class, byte order and version in front; machine at 18. Masked out: the system's ABI (7), its
# padding, and the type's lowest bit, so that executables and position-independent ones match.
MAGIC = {
    "x86_64": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00",
    "aarch64": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00",
    "arm": b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x02\x00\x28\x00",
}
MASK = b"\xff" * 7 + bytes(9) + b"\xfe\xff\xff\xff"
BINFMT = Path("/proc/sys/fs/binfmt_misc")

CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"

FETCH_TIMEOUT_S = 600


class Unavailable(Exception):
    """What this machine lacks, in a sentence: the caller reports its check as skipped."""


def machine_architecture() -> str:
    """Debian's name for this machine's own architecture."""
    need("dpkg")
    asked = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is not installed here")


def need_root() -> None:
    if os.geteuid() != 0:
        raise Unavailable("only root can make and enter a Debian root")


# -- making ----------------------------------------------------------------------------------------------------------


def make(architecture: str, suite: str, packages: Iterable[str], cache: Path = CACHE) -> Path:
    """The root of `suite` (bookworm, trixie, sid, ...) with `packages` and what they depend on, made if need be.

    Raises Unavailable without root, without apt and dpkg, and when the packages cannot be had.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture {architecture!r}: expected one of {', '.join(ARCHITECTURES)}")
    need_root()
    need("apt-get", "apt-config", "dpkg-deb")
    wanted = sorted({*BASE, *packages})
    digest = hashlib.sha256(repr((RECIPE, wanted)).encode()).hexdigest()[:12]
    root = cache / f"{suite}-{architecture}-{digest}"
    stamp = root.with_suffix(".made")
    if stamp.exists():
        return root
    # What an interrupted turn left may be half an unpacked file.
    shutil.rmtree(root, ignore_errors=True)
    _lay_out(root)
    for archive in _fetch(architecture, suite, wanted, cache):
        _run("dpkg-deb", "--extract", archive, root)
    _configure(root)
    stamp.touch()
    return root


def _lay_out(root: Path) -> None:
    """Merged /usr, before anything is unpacked into it: not every suite has the links in a package."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")


def _fetch(architecture: str, suite: str, packages: Sequence[str], cache: Path) -> list[Path]:
    home = cache / f"apt-{suite}-{architecture}"
    archives = home / "var/cache/apt/archives"
    for folder in (
        archives / "partial",
        home / "var/lib/apt/lists/partial",
        home / "var/lib/dpkg",
        home / "etc/apt",
    ):
        folder.mkdir(parents=True, exist_ok=True)
    # Nothing is installed as far as this apt knows.
    (home / "var/lib/dpkg/status").write_text("")
    (home / "etc/apt/debian.sources").write_text(_sources(suite))
    configuration = home / "apt.conf"
    configuration.write_text(
        f'Dir "{home}/";\n'
        f'Dir::State::status "{home}/var/lib/dpkg/status";\n'
        'Dir::Etc::sourcelist "debian.sources";\n'
        # Hooks of this machine (caches of desktop programs) are not for these lists.
        'Dir::Etc::parts "/dev/null";\nDir::Etc::sourceparts "/dev/null";\nDir::Etc::preferencesparts "/dev/null";\n'
        f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\n'
        'APT::Install-Recommends "false";\nAPT::Sandbox::User "root";\nAPT::Get::Assume-Yes "true";\n'
        f"{_acquire()}"
    )
    environment = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C"}
    for old in archives.glob("*.deb"):
        old.unlink()
    for command in (["update", "--error-on=any"], ["install", "--download-only", *packages]):
        try:
            done = subprocess.run(
                ["apt-get", "--quiet=2", *command],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                timeout=FETCH_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(
                f"apt-get {command[0]} for {suite} took more than {FETCH_TIMEOUT_S} s"
            ) from None
        if done.returncode:
            said = (
                "; ".join(line for line in done.stdout.splitlines() if line.startswith("E: ")) or done.stdout
            )
            raise Unavailable(f"apt-get {command[0]} for {suite} on {architecture}: {said.strip()[-1000:]}")
    return sorted(archives.glob("*.deb"))


def _acquire() -> str:
    """How this machine's apt fetches (proxies, certificates, retries), in the words of a configuration."""
    dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    kept = (line for line in dumped.splitlines() if line.startswith("Acquire::"))
    # Indices beside those of packages are what other programs of this machine want.
    return "".join(f"{line}\n" for line in kept if not line.startswith("Acquire::IndexTargets"))


def _sources(suite: str) -> str:
    """This machine's own source of Debian packages, with another suite."""
    for path in sorted(Path("/etc/apt").glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE))
            if _is_main_archive(fields.get("Suites", "").split(), fields.get("Components", "").split()):
                signed = f"Signed-By: {fields['Signed-By']}\n" if "Signed-By" in fields else ""
                return _stanza(fields["URIs"], suite, signed)
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt").glob("sources.list.d/*.list"))]:
        lines = path.read_text() if path.exists() else ""
        for options, uri, name, components in re.findall(
            r"^deb\s+(\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)$", lines, re.MULTILINE
        ):
            if _is_main_archive([name], components.split()):
                key = re.search(r"signed-by=([^\s\]]+)", options)
                return _stanza(uri, suite, f"Signed-By: {key[1]}\n" if key else "")
    raise Unavailable("this machine's apt has no source of Debian's main archive (it is not a Debian)")


def _is_main_archive(suites: Sequence[str], components: Sequence[str]) -> bool:
    """The machine's own suite as it was released: not its updates, nor packages of others for it."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE))
    own = {release.get("VERSION_CODENAME"), "stable", "testing", "unstable", "sid"}
    return release.get("ID") == "debian" and "main" in components and not own.isdisjoint(suites)


def _stanza(uris: str, suite: str, signed: str) -> str:
    # Without a key named by the machine: those that it trusts anyhow, which this apt would look for elsewhere.
    signed = signed or "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    return f"Types: deb\nURIs: {uris}\nSuites: {suite}\nComponents: main\n{signed}"


def _configure(root: Path) -> None:
    """What the packages' own scripts would have made, as far as Python and its tests need it."""
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    shell = root / "bin/sh"
    if not shell.exists():
        shell.symlink_to("dash")
    (root / "etc/hosts").write_text("127.0.0.1\tlocalhost\n::1\tlocalhost\n")
    (root / "etc/hostname").write_text("root\n")
    certificates = Path("/") / CERTIFICATES
    if certificates.exists():
        (root / CERTIFICATES).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(certificates, root / CERTIFICATES)
    # To be bound over when the root is entered.
    (root / "etc/resolv.conf").touch()
    for name in ("dev", "proc", "sys", "tmp", "run", "root", "var/tmp", "mnt"):
        (root / name).mkdir(parents=True, exist_ok=True)


def _run(*command: str | Path) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"status {done.returncode} from {shlex.join(words)}: {done.stderr.strip()[-2000:]}"
        )


# -- entering --------------------------------------------------------------------------------------------------------


def command(
    root: Path, words: Sequence[str | Path], binds: Mapping[Path, str] | None = None, cwd: str = "/"
) -> list[str]:
    """The command that runs `words` in the root, to be started in any way.

    It has name spaces of its own for mounts and processes: whatever is mounted and whatever still runs is gone when
    it ends, also when it is killed. The network is the machine's. The root is read-only; /tmp, /run, /var/tmp and
    /root are empty and writable. `binds` puts folders of this machine (keys) in the root's own, at paths below /mnt
    (or at any folder that the root has).
    """
    need_root()
    need("unshare", "mount", "chroot")
    place = shlex.quote(str(root))
    lines = [
        "set -eu",
        f"mount --bind {place} {place}",
        f"mount -o remount,bind,ro {place}",
        f"mount --rbind /dev {place}/dev",
        f"mount -t proc proc {place}/proc",
        f"mount --rbind /sys {place}/sys",
        *(f"mount -t tmpfs -o mode={mode} tmpfs {place}/{name}" for name, mode in WRITABLE.items()),
        f"[ ! -e /etc/resolv.conf ] || mount --bind /etc/resolv.conf {place}/etc/resolv.conf",
    ]
    if any(target.startswith("/mnt/") for target in (binds or {}).values()):
        lines.append(f"mount -t tmpfs tmpfs {place}/mnt")
    for source, target in (binds or {}).items():
        there = shlex.quote(f"{root}{target}")
        if target.startswith("/mnt/"):
            lines.append(f"mkdir -p {there}")
        lines.append(f"mount --bind {shlex.quote(str(source))} {there}")
    inner = f"cd {shlex.quote(cwd)} && exec {shlex.join(str(word) for word in words)}"
    lines.append(f"exec chroot {place} /bin/sh -c {shlex.quote(inner)}")
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(lines)]


WRITABLE = {"tmp": "1777", "var/tmp": "1777", "run": "755", "root": "700"}


def enter(
    root: Path,
    words: Sequence[str | Path],
    binds: Mapping[Path, str] | None = None,
    *,
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    check: bool = True,
    log: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command in the root, with an environment that has only what a login has, and `env`.

    What it says is in the result's `stdout`, or goes to the file `log`. Raises RuntimeError with the end of it for a
    status other than 0, unless told not to check; subprocess.TimeoutExpired after `timeout_s`.
    """
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "SSL_CERT_FILE": f"/{CERTIFICATES}",
        "PIP_CERT": f"/{CERTIFICATES}",
        **(env or {}),
    }
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("w")) if log else subprocess.PIPE
        done = subprocess.run(
            command(root, words, binds, cwd),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )
    if check and done.returncode:
        said = log.read_text() if log else done.stdout
        raise RuntimeError(
            f"status {done.returncode} from {shlex.join(map(str, words))} in {root.name}:\n{said[-4000:]}"
        )
    return done


# -- emulation -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def emulated(architecture: str) -> Iterator[None]:
    """While it lasts, programs of the architecture can be run. What was not there before is gone afterwards.

    Raises Unavailable without a static qemu of the architecture, or when the kernel cannot be told of it.
    """
    machine = ARCHITECTURES[architecture]
    if architecture == machine_architecture() or _is_registered(machine):
        yield
        return
    need_root()
    need(f"qemu-{machine}-static")
    with contextlib.ExitStack() as stack:
        if not (BINFMT / "register").exists():
            mounted = subprocess.run(
                ["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], capture_output=True, text=True
            )
            if mounted.returncode:
                raise Unavailable(f"binfmt_misc cannot be mounted: {mounted.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", str(BINFMT)], check=False)
        name = f"plexo-{machine}"
        # F: the kernel opens qemu now, so that it is found from within a root that has none.
        line = ":".join(
            (
                "",
                name,
                "M",
                "0",
                _escaped(MAGIC[machine]),
                _escaped(MASK),
                shutil.which(f"qemu-{machine}-static") or "",
                "F",
            )
        )
        try:
            (BINFMT / "register").write_bytes(line.encode())
        except OSError as error:
            raise Unavailable(
                f"qemu-{machine}-static cannot be registered with the kernel: {error}"
            ) from None
        stack.callback((BINFMT / name).write_text, "-1")
        yield


def _escaped(content: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in content)


def _is_registered(machine: str) -> bool:
    """Is there a format for it that works from within a root, whoever registered it?"""
    for path in BINFMT.glob("*") if (BINFMT / "register").exists() else ():
        if path.name in ("register", "status"):
            continue
        said = path.read_text()
        magic = re.search(r"^magic ([0-9a-f]+)$", said, re.MULTILINE)
        if not (said.startswith("enabled") and magic and re.search(r"^flags: \S*F", said, re.MULTILINE)):
            continue
        if magic[1].startswith("7f454c46") and magic[1][36:40] == MAGIC[machine].hex()[36:40]:
            return True
    return False
