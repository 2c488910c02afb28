"""What a browser may name in the data folder, and what it may not."""

from __future__ import annotations

import os
import threading

import pytest

from hlfd.errors import InputError, MissingInputError, OutputError
from hlfd.io.raw import SUFFIXES
from hlfd_web.files import FOLDERS, DataRoot, free_name, kind_of

OUTSIDE = [
    "..",
    "../secret.txt",
    "uploads/../../secret.txt",
    "uploads/..",
    "./uploads",
    "uploads//ct.nii",
    "uploads/",
    "/etc/passwd",
    "//etc/passwd",
    "uploads\\..\\..\\secret.txt",
    "C:\\secret.txt",
    "C:/secret.txt",
    "uploads/ct.nii\0.txt",
    "uploads/\n",
    "uploads/\x7f",
    ".hlfd",
    ".hlfd/server.lock",
    "uploads/.hidden",
    "~/secret.txt/..",
    "a" * 300,
    "a/" * 1500 + "a",
    "uploads/\ud800",
    "file:///etc/passwd",
    "..%2fsecret.txt",
]


@pytest.fixture
def root(tmp_path) -> DataRoot:
    made = DataRoot(tmp_path / "root")
    (tmp_path / "secret.txt").write_text("secret")
    (made.uploads / "ct.nii.gz").write_bytes(b"12345")
    return made


def test_a_file_is_found_by_the_name_that_the_listing_gives(root):
    (entry,) = root.list("uploads").entries
    assert (entry.path, entry.kind, entry.size) == ("uploads/ct.nii.gz", "image", 5)
    assert root.resolve(entry.path) == root.uploads / "ct.nii.gz"
    assert root.name_of(root.resolve(entry.path)) == entry.path


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: ascii(name)[:40])
def test_a_name_that_leads_elsewhere_is_refused(root, name):
    for ask in (root.resolve, root.open, root.list):
        with pytest.raises(InputError):
            ask(name)


@pytest.mark.parametrize("name", ["%2e%2e/secret.txt", "%2e%2e%2fsecret.txt", "\uff0e\uff0e/secret.txt", "…"])
def test_an_encoded_name_is_taken_as_it_is_and_does_not_exist(root, name):
    with pytest.raises(MissingInputError):
        root.resolve(name)


def test_a_name_that_is_no_text_is_refused(root):
    for name in (None, 7, ["uploads"], {"a": 1}):
        with pytest.raises(InputError):
            root.resolve(name)


def test_a_link_that_leaves_the_folder_is_neither_followed_nor_listed(root, tmp_path):
    (root.uploads / "file").symlink_to(tmp_path / "secret.txt")
    (root.uploads / "folder").symlink_to(tmp_path)
    (root.uploads / "relative").symlink_to("../../secret.txt")
    (root.uploads / "loop").symlink_to("loop")
    (root.uploads / "hidden").symlink_to(root.hidden)
    root.hidden.mkdir()
    for name in ("file", "folder", "folder/secret.txt", "relative", "loop", "hidden"):
        with pytest.raises(InputError):
            root.resolve(f"uploads/{name}")
    assert [entry.name for entry in root.list("uploads").entries] == ["ct.nii.gz"]


def test_a_link_that_stays_inside_is_followed(root):
    (root.results / "again.nii.gz").symlink_to(root.uploads / "ct.nii.gz")
    assert root.open("results/again.nii.gz").read() == b"12345"
    assert root.list("results").entries[0].size == 5


def test_a_link_put_in_place_of_a_folder_meanwhile_is_not_followed(root, tmp_path):
    """A folder and a link to the outside change places all the time, while the file in it is opened."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("secret")
    inside, away = root.uploads / "case", root.uploads / "away"
    inside.mkdir()
    (inside / "a.txt").write_text("harmless")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            inside.rename(away)
            inside.symlink_to(outside)
            inside.unlink()
            away.rename(inside)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        read = set()
        for _ in range(3000):
            try:
                with root.open("uploads/case/a.txt") as stream:
                    read.add(stream.read())
            except InputError:
                continue
    finally:
        stop.set()
        swapping.join()
    assert read <= {b"harmless"}


def test_a_link_put_in_after_the_name_was_checked_is_not_opened(root, tmp_path, monkeypatch):
    resolve = root.resolve

    def resolve_then_swap(name):
        found = resolve(name)
        found.unlink()
        found.symlink_to(tmp_path / "secret.txt")
        return found

    monkeypatch.setattr(root, "resolve", resolve_then_swap)
    with pytest.raises(InputError):
        root.open("uploads/ct.nii.gz")


def test_pipes_sockets_and_devices_are_not_offered(root):
    os.mkfifo(root.uploads / "pipe.nii")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        root.open("uploads/pipe.nii")
    assert [entry.name for entry in root.list("uploads").entries] == ["ct.nii.gz"]


def test_a_listing_is_sorted_and_bounded(root):
    for number in range(30):
        (root.uploads / f"{number:02d}.nii").touch()
    (root.uploads / "zz").mkdir()
    listing = root.list("uploads", limit=10)
    assert listing.entries[0].kind == "folder"
    assert [entry.name for entry in listing.entries[1:]] == [f"{number:02d}.nii" for number in range(9)]
    assert listing.more == 32 - 10


def test_names_that_are_not_text_on_the_disk_are_left_out(root):
    (root.uploads / os.fsdecode(b"caf\xe9.nii")).touch()
    (root.uploads / "café.nii").touch()
    assert [entry.name for entry in root.list("uploads").entries] == ["café.nii", "ct.nii.gz"]


def test_the_top_shows_the_folders_of_the_application(root):
    root.hidden.mkdir()
    assert [entry.name for entry in root.list().entries] == sorted(FOLDERS)


def test_a_file_is_no_folder_and_a_folder_no_file(root):
    with pytest.raises(InputError, match="not a folder"):
        root.list("uploads/ct.nii.gz")
    for name in ("uploads", ""):
        with pytest.raises(InputError, match="is a folder"):
            root.open(name)


def test_what_lies_outside_has_no_name(root, tmp_path):
    for path in (tmp_path, tmp_path / "root2", root.folder / ".." / "secret.txt"):
        with pytest.raises(InputError):
            root.name_of(path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="--data-root"):
        DataRoot(tmp_path / "file" / "root")


def test_every_format_that_is_read_counts_as_an_image():
    assert {kind_of(f"ct{suffix}") for suffix in SUFFIXES} == {"image"}
    assert (kind_of("kidney.zip"), kind_of("notes.txt")) == ("package", "other")


def test_a_taken_name_gets_a_number(root):
    assert free_name(root.uploads, "new.nii.gz").name == "new.nii.gz"
    assert free_name(root.uploads, "ct.nii.gz").name == "ct-2.nii.gz"
    (root.uploads / "ct-2.nii.gz").symlink_to("nowhere")
    assert free_name(root.uploads, "ct.nii.gz").name == "ct-3.nii.gz"
