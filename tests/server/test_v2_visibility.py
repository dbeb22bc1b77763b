"""What is acknowledged is seen by the next request, however many read at the same time."""

import threading
from pathlib import Path

from tests.serving import digest, dump, image, served

CONFIG = b'{"visible":1}'


def test_a_tag_reads_as_it_was_written_while_others_read_it(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        repo, stop = client.at("visible/app"), threading.Event()
        repo.push_blob(CONFIG)
        bodies = [dump(image(CONFIG, annotations={"n": str(n)})) for n in range(5)]
        names = {digest(body) for body in bodies}
        strange: list[str] = []

        def read() -> None:
            while not stop.is_set():
                found = repo("GET", "manifests/moving")
                if found.status == 200 and digest(found.body) not in names:
                    strange.append(digest(found.body))
                elif found.status not in (200, 404):
                    strange.append(str(found.status))

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        try:
            for turn in range(60):
                body = bodies[turn % len(bodies)]
                assert repo.put_manifest("moving", body).status == 201
                assert repo("GET", "manifests/moving").body == body
                if turn % 7 == 0:
                    assert repo("DELETE", "manifests/moving").status == 202
                    assert repo("GET", "manifests/moving").status == 404
                if turn % 11 == 0:
                    assert repo("DELETE", f"manifests/{digest(body)}").status == 202
                    assert repo("GET", f"manifests/{digest(body)}").status == 404
                    assert repo("GET", "manifests/moving").status == 404
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        assert not strange
