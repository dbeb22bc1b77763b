"""A context and a home for builds with the real engine: overlayfs and an OCI runtime."""

import os
import subprocess

from argosy.build.pipeline import BuildOptions, Ends, build
from argosy.settings import Settings
from argosy.stores.layout import OCILayout

# What a Dockerfile begins with after `world.busybox()`.
BASE = "FROM scratch AS base\nCOPY root /\nENV PATH=/bin\n"


class Real:
    def __init__(self, path):
        self.path = path
        self.events = []
        self.settings = Settings(home=os.path.join(path, "home"))
        self.images = OCILayout(os.path.join(path, "home", "images"), durable=False)

    def file(self, path, content, mode=0o644):
        full = os.path.join(self.path, "context", path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(full, mode)

    def busybox(self):
        """busybox with the libraries it needs, as a root file system in the context."""
        with open("/bin/busybox", "rb") as f:
            self.file("root/bin/busybox", f.read(), 0o755)
        ldd = subprocess.run(["ldd", "/bin/busybox"], capture_output=True, text=True)
        for word in ldd.stdout.split():
            if word.startswith("/") and os.path.exists(word):
                with open(word, "rb") as f:
                    self.file(f"root{word}", f.read(), 0o755)
        os.symlink("busybox", os.path.join(self.path, "context/root/bin/sh"))

    async def build(self, dockerfile, *, shell=None, **options):
        self.file("Dockerfile", dockerfile)
        self.events.clear()
        return await build(
            BuildOptions(
                context=os.path.join(self.path, "context"),
                **{"tags": ("example.com/app:1",), "load": True, **options},
            ),
            settings=self.settings,
            ends=Ends(images=self.images, repository=None, archive=None, shell=shell),
            report=self.events.append,
        )

    def output(self):
        return "".join(e.text for e in self.events if e.kind == "log")
