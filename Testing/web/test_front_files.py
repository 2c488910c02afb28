"""Uploads and downloads: what is taken, what is refused, and that nothing half or outside is left."""

from __future__ import annotations

import gzip
import io
import os
import re
import socket
import stat
import struct
import time
import zipfile

import pytest

from hlfd_web.front import archives
from Testing.web.front_server import RunningFront


def nifti(shape=(4, 5, 6), bits=16, data=None) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", header, 70, 4, bits)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    size = shape[0] * shape[1] * shape[2] * bits // 8
    return bytes(header) + (bytes(size) if data is None else data)


def nrrd(fields="type: short\ndimension: 3\nsizes: 4 5 6\nencoding: raw\n", data=bytes(240)) -> bytes:
    return f"NRRD0004\n{fields}\n".encode() + data


def meta(data_file="LOCAL", size="4 5 6") -> bytes:
    lines = ("ObjectType = Image", "NDims = 3", f"DimSize = {size}", "ElementType = MET_SHORT")
    return "".join(f"{line}\n" for line in (*lines, f"ElementDataFile = {data_file}")).encode()


def dicom(size=2000) -> bytes:
    return bytes(128) + b"DICM" + os.urandom(size)


def archive(files: dict, compression=zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return out.getvalue()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    made = RunningFront(tmp_path_factory.mktemp("files") / "root", max_upload_mb=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def visitor(running):
    return running.visitor().open()


@pytest.fixture
def root(running):
    """The data root, which must hold no hidden upload after a test."""
    yield running.front.root
    assert list(running.front.root.uploads.glob(".*")) == []


def upload(visitor, name, data, purpose="image", batch=""):
    from urllib.parse import urlencode

    return visitor.post(f"/files/upload?{urlencode({'name': name, 'purpose': purpose, 'batch': batch})}", data)


class TestUploads:
    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("ct.nii", nifti()),
            ("CT.NII.GZ", gzip.compress(nifti())),
            ("ct.nrrd", nrrd()),
            ("labels.seg.nrrd", nrrd()),
            ("ct.mha", meta() + bytes(240)),
            ("IM00001", dicom()),
            ("1.2.840.113619.2", dicom()),
            ("slice.dcm", dicom()),
        ],
    )
    def test_of_an_image_gets_a_name_that_the_page_can_use(self, visitor, root, name, data):
        answer = upload(visitor, name, data)
        assert answer.status == 200, answer.text
        path = root.resolve(answer.json["path"])
        assert path.read_bytes() == data
        assert path.parent == root.uploads
        assert stat.S_IMODE(path.stat().st_mode) & 0o111 == 0

    def test_twice_under_one_name_keeps_both(self, visitor, root):
        paths = [upload(visitor, "twice.nii", nifti()).json["path"] for _ in range(2)]
        assert paths == ["uploads/twice.nii", "uploads/twice-2.nii"]

    @pytest.mark.parametrize(
        ("name", "kept"),
        [
            ("../../etc/ct.nii", "ct.nii"),
            ("..\\..\\ct.nii", "ct.nii"),
            ("/etc/ct.nii", "ct.nii"),
            ("..nii", None),
            (".hidden.nii", "hidden.nii"),
            ("a\0b\n<script>.nii", "a_b__script_.nii"),
            ("Nieren CT (1) ä.nii", "Nieren CT (1) ä.nii"),
            ("‮gpj.nii", "_gpj.nii"),
            ("x" * 400 + ".nii", "x" * 120 + ".nii"),
            (".nii", "file.nii"),
        ],
    )
    def test_has_a_harmless_name(self, visitor, root, name, kept):
        answer = upload(visitor, name, nifti())
        if kept is None:
            assert answer.status in (200, 422)
        else:
            assert re.sub(r"-\d+\.", ".", answer.json["path"]) == f"uploads/{kept}"
        for entry in root.uploads.rglob("*"):
            assert entry.resolve().is_relative_to(root.uploads)

    @pytest.mark.parametrize(
        ("name", "data", "told"),
        [
            ("ct.exe", b"MZ", "is no image"),
            ("ct.mhd", meta("/etc/passwd"), "second file"),
            ("ct.nhdr", nrrd(), "second file"),
            ("page.html", b"<script>", "is no image"),
            ("ct.nii", b"nonsense", "not what its name says"),
            ("ct.nii", nifti()[:200], "not what its name says"),
            ("ct.nii", nifti((30000, 30000, 30000), data=b""), "promises"),
            ("ct.nii.gz", gzip.compress(nifti())[:-40], "not what its name says"),
            ("ct.nii.gz", nifti(), "not what its name says"),
            ("ct.nii.gz", gzip.compress(nifti() + bytes(3 << 20)), "unpacks to more"),
            ("ct.nrrd", nrrd("type: short\nsizes: 4 5 6\ndata file: /etc/passwd\n"), "another file"),
            ("ct.nrrd", nrrd("type: short\nsizes: 4 5 6\nDATAFILE:../../secret\n"), "another file"),
            ("ct.nrrd", nrrd("type: short\nsizes: 99999 99999 99999\n"), "promises"),
            ("ct.nrrd", nrrd("type: short\nsizes: -4 5 6\n"), "not what its name says"),
            ("ct.nrrd", b"NRRD0004\ntype: short", "not what its name says"),
            ("ct.mha", meta("/etc/passwd"), "another file"),
            ("ct.mha", meta("LIST"), "another file"),
            ("ct.mha", meta(size="99999 99999 99999"), "promises"),
            ("ct.mha", b"\xff" * 5000, "not what its name says"),
            ("slice.dcm", b"no dicom" * 100, "no DICOM file"),
            ("ct.nii", b"", "empty"),
        ],
    )
    def test_that_is_no_image_in_itself_is_refused_in_a_sentence(self, visitor, root, name, data, told):
        before = sorted(root.uploads.rglob("*"))
        answer = upload(visitor, name, data)
        assert answer.status == 422
        assert told in answer.json["message"]
        assert sorted(root.uploads.rglob("*")) == before

    def test_beyond_the_limit_is_refused_before_and_while_it_comes(self, running, visitor, root):
        before = sorted(root.uploads.rglob("*"))
        declared = visitor.post("/files/upload?name=ct.nii", b"x" * 1000, Content_Length=str(50 << 20))
        assert declared.status == 413
        blocks = iter([b"x" * 65536] * 80)
        try:
            chunked = visitor.post("/files/upload?name=ct.nii", blocks, Transfer_Encoding="chunked")
        except ConnectionError:  # the server hung up while the rest was on its way
            chunked = None
        assert chunked is None or chunked.status == 413
        assert sorted(root.uploads.rglob("*")) == before

    def test_that_breaks_off_leaves_nothing(self, running, visitor, root):
        cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        head = (
            f"POST /files/upload?name=half.nii HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nCookie: {cookies}\r\n"
            f"Origin: http://127.0.0.1:{running.port}\r\nContent-Length: 100000\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            connection.sendall(head.encode() + b"x" * 5000)
            end = time.monotonic() + 10
            while not list(root.uploads.glob(".upload-*")):
                assert time.monotonic() < end
                time.sleep(0.01)
        while list(root.uploads.glob(".upload-*")):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert not (root.uploads / "half.nii").exists()
        assert visitor.session.uploads == 0

    def test_for_a_model_goes_to_the_session_alone(self, visitor, root):
        answer = upload(visitor, "kidney.zip", archive({"model.json": "{}"}), purpose="model")
        assert answer.json == {"name": "kidney.zip", "path": "kidney.zip"}
        assert (visitor.session.child.folder / "uploads" / "kidney.zip").is_file()
        assert upload(visitor, "kidney.nii", nifti(), purpose="model").status == 422

    def test_for_anything_else_is_refused(self, visitor, root):
        assert upload(visitor, "ct.nii", nifti(), purpose="shell").status == 400
        assert upload(visitor, "ct.nii", nifti(), batch="../../x").status == 400

    def test_of_many_slices_makes_one_folder_when_all_are_there(self, visitor, root):
        batch = "0123456789abcdef"
        for number in range(3):
            assert upload(visitor, f"IM{number}", dicom(), batch=batch).status == 200
        assert upload(visitor, "README.txt", b"x", batch=batch).status == 422
        assert not (root.uploads / "DICOM series").exists()
        assert visitor.post(f"/files/finish?batch={batch}").json["path"] == "uploads/DICOM series"
        assert len(list((root.uploads / "DICOM series").iterdir())) == 3
        assert visitor.post(f"/files/finish?batch={batch}").status == 404

    def test_of_many_slices_that_was_cancelled_leaves_nothing(self, visitor, root):
        before = sorted(root.uploads.rglob("*"))
        upload(visitor, "IM1", dicom(), batch="f" * 16)
        assert visitor.post(f"/files/finish?batch={'f' * 16}&discard=1").status == 200
        assert sorted(root.uploads.rglob("*")) == before

    def test_of_many_slices_whose_page_went_away_leaves_nothing(self, running, root):
        before = sorted(root.uploads.rglob("*"))
        leaver = running.visitor().open()
        upload(leaver, "IM1", dicom(), batch="e" * 16)
        assert sorted(root.uploads.rglob("*")) != before

        async def end():
            running.front.sessions.end(leaver.session, "for a test")

        running.call(end())
        assert sorted(root.uploads.rglob("*")) == before

    def test_of_one_visitor_cannot_be_finished_by_another(self, running, visitor, root):
        upload(visitor, "IM1", dicom(), batch="d" * 16)
        assert running.visitor().open().post(f"/files/finish?batch={'d' * 16}").status == 404
        visitor.post(f"/files/finish?batch={'d' * 16}&discard=1")

    def test_needs_a_session(self, running):
        assert upload(running.visitor(), "ct.nii", nifti()).status == 410


class TestZips:
    def test_of_a_series_become_a_folder_without_its_names(self, visitor, root):
        files = {f"patient/series/IM {n}": dicom() for n in range(3)} | {"DICOMDIR.txt": "x", "patient/": ""}
        answer = upload(visitor, "Series 1.zip", archive(files))
        assert answer.json["path"] == "uploads/Series 1"
        names = sorted(path.name for path in (root.uploads / "Series 1").iterdir())
        assert names == ["00001.dcm", "00002.dcm", "00003.dcm"]

    @pytest.mark.parametrize("name", ["/etc/cron.d/x", "../../x", "a/../../x", "..\\x", "C:\\x", "\\\\server\\x"])
    def test_that_name_a_place_outside_are_refused(self, visitor, root, name):
        self.refused(visitor, root, archive({"good.dcm": dicom(), name: dicom()}), "place outside")

    def test_with_a_link_are_refused(self, visitor, root):
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as opened:
            opened.writestr("good.dcm", dicom())
            opened.writestr(link, "/etc/passwd")
        self.refused(visitor, root, out.getvalue(), "link")

    def test_that_unpack_to_far_more_are_refused(self, visitor, root):
        bomb = archive({"bomb.dcm": bytes(128) + b"DICM" + bytes(20 << 20)})
        assert len(bomb) < 1 << 20
        self.refused(visitor, root, bomb, "unpacks to more")

    def test_that_lie_about_their_size_are_refused(self, visitor, root):
        data = bytearray(archive({"a.dcm": dicom(50_000)}, zipfile.ZIP_STORED))
        for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            at = data.find(signature) + offset
            struct.pack_into("<I", data, at, 10)
        answer = upload(visitor, "lies.zip", bytes(data))
        assert answer.status in (200, 422)
        if answer.status == 200:  # no more than declared may have been written
            written = list(root.resolve(answer.json["path"]).iterdir())
            assert sum(path.stat().st_size for path in written) <= 60_000

    def test_with_too_many_files_are_refused(self, visitor, root, monkeypatch):
        monkeypatch.setattr(archives, "MAX_FILES", 50)
        self.refused(visitor, root, archive({str(n): b"" for n in range(51)}), "51 files")

    @pytest.mark.parametrize("data", [b"PK\x03\x04 nonsense", b"", archive({"a.txt": "no dicom"})])
    def test_without_a_dicom_file_are_refused(self, visitor, root, data):
        self.refused(visitor, root, data, "")

    @staticmethod
    def refused(visitor, root, data, told):
        before = sorted(root.folder.rglob("*"))
        answer = upload(visitor, "series.zip", data)
        assert answer.status == 422, answer.text
        assert told in answer.json["message"]
        assert sorted(root.folder.rglob("*")) == before


class TestDownloads:
    def test_of_a_result_are_saved_never_shown(self, visitor, root):
        (root.results / "case 1.seg.nrrd").write_bytes(b"labels")
        answer = visitor.get("/files/results/case%201.seg.nrrd")
        assert (answer.status, answer.body) == (200, b"labels")
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert answer.headers["Content-Type"] == "application/octet-stream"

    def test_of_a_report_can_be_shown_without_any_rights(self, visitor, root):
        (root.results / "report.html").write_text("<script>alert(1)</script>")
        answer = visitor.get("/files/results/report.html?show")
        assert answer.headers["Content-Type"].startswith("text/html")
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert visitor.get("/files/results/report.html").headers["Content-Disposition"].startswith("attachment")

    def test_of_what_the_session_made_are_for_its_page_alone(self, running, visitor):
        folder = visitor.session.child.folder / "downloads"
        folder.mkdir(exist_ok=True)
        (folder / "table.csv").write_text("a,b")
        assert visitor.get("/files/session/table.csv").text == "a,b"
        assert running.visitor().open().get("/files/session/table.csv").status == 404

    @pytest.mark.parametrize(
        "path",
        [
            "results/../uploads/ct.nii",
            "results/%2e%2e/%2e%2e/secret.txt",
            "results/..%2f..%2fsecret.txt",
            "results/%2fetc%2fpasswd",
            "results//etc/passwd",
            "results/..%5csecret.txt",
            "results/%00",
            "results/.hidden",
            "results/link",
            "results/folder",
            "results/",
            "uploads/ct.nii",
            "models/x",
            ".hlfd/server.lock",
            "session/../../server.lock",
            "session/%2e%2e%2fserver.lock",
            "session/link",
            "session/..",
        ],
    )
    def test_of_anything_else_are_not_found(self, running, visitor, root, tmp_path, path):
        secret = tmp_path / "secret.txt"
        secret.write_text("secret")
        downloads = visitor.session.child.folder / "downloads"
        downloads.mkdir(exist_ok=True)
        for folder in (root.results, downloads):
            (folder / "link").unlink(missing_ok=True)
            (folder / "link").symlink_to(secret)
        (root.results / "folder").mkdir(exist_ok=True)
        answer = visitor.get(f"/files/{path}")
        assert answer.status == 404
        assert "secret" not in answer.text

    def test_can_be_asked_for_their_size_alone(self, visitor, root):
        (root.results / "size.bin").write_bytes(b"12345")
        answer = visitor.ask("HEAD", "/files/results/size.bin")
        assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "5", b"")
