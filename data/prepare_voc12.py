"""Make PASCAL VOC 2012, with SBD's further masks, ready for training, from archives that you have.

    python data/prepare_voc12.py --out data VOCtrainval_11-May-2012.tar benchmark.tgz

This checks each archive, unpacks it, turns SBD's ``.mat`` masks into ``SegmentationClassAug/*.png``, and writes the
list ``train_aug.txt`` (10,582 images: VOC's train and all of SBD, without VOC's val). It then says what is missing and
where people get it. Nothing is downloaded. Without archives it only looks at what exists.
"""

import argparse
import hashlib
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

VOC = "VOCtrainval_11-May-2012.tar"
SBD = "benchmark.tgz"
MD5 = {VOC: "6cd6e144f989b92b3379bac3b3de84fd", SBD: "82b4d87ceb2ed10f6038a1cba92111cb"}
SOURCE = {
    VOC: "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (2 GB)",
    SBD: "http://home.bharathh.info/pubs/codes/SBD/download.html (1.4 GB)",
}
NUM_TRAIN, NUM_VAL, NUM_TRAIN_AUG = 1464, 1449, 10582


def check_archive(path: Path, *, md5: str) -> None:
    """Refuse an archive that is not the published one.

    Raises:
        ValueError: If its checksum differs, e.g. after a download that broke off.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest() if sys.version_info >= (3, 11) else _md5(file)
    if found != md5:
        raise ValueError(f"{path}: MD5 is {found}, expected {md5}; the download may have broken off")


def _md5(file: object) -> str:
    digest = hashlib.md5()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def unpack(path: Path, folder: Path) -> None:
    """Unpack a tar; members that would leave ``folder``, and links and devices, are refused by ``filter``.

    Raises:
        tarfile.FilterError: If it holds such a member.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")


def convert_sbd(sbd: Path, voc: Path) -> int:
    """Write ``SegmentationClassAug``: VOC's own mask where there is one, else SBD's.

    Args:
        sbd: The folder ``benchmark_RELEASE/dataset``.
        voc: The folder ``VOC2012``.

    Returns:
        The number of masks that came from SBD.

    Raises:
        ValueError: If a file does not hold SBD's structure.
    """
    from scipy.io import loadmat

    out = voc / "SegmentationClassAug"
    out.mkdir(exist_ok=True)
    own = {path.stem: path for path in (voc / "SegmentationClass").glob("*.png")}
    if not own:
        raise ValueError(f"{voc / 'SegmentationClass'}: holds no mask; unpack {VOC} again")
    for path in own.values():
        shutil.copyfile(path, out / path.name)
    with Image.open(next(iter(own.values()))) as image:
        palette = image.getpalette()
    count = 0
    for path in sorted((sbd / "cls").glob("*.mat")):
        if path.stem in own:
            continue
        try:
            mask = np.asarray(loadmat(path)["GTcls"]["Segmentation"][0, 0], np.uint8)
        # SciPy raises many kinds of errors at a foreign or broken file.
        except Exception as error:
            raise ValueError(f"{path}: no mask GTcls.Segmentation in it ({error})") from error
        image = Image.fromarray(mask)
        if palette:
            image.putpalette(palette)
        image.save(out / f"{path.stem}.png")
        count += 1
    return count


def write_train_aug(sbd: Path, voc: Path) -> int:
    """Write ``train_aug.txt``: VOC's train and both of SBD's lists, without VOC's val.

    Returns:
        The number of images in it: 10,582 with the published archives.
    """
    lists = voc / "ImageSets" / "Segmentation"
    ids = {
        image_id
        for path in (lists / "train.txt", sbd / "train.txt", sbd / "val.txt")
        for image_id in path.read_text().split()
    }
    ids -= set((lists / "val.txt").read_text().split())
    (lists / "train_aug.txt").write_text("".join(f"{image_id}\n" for image_id in sorted(ids)))
    return len(ids)


def missing(voc: Path) -> list[str]:
    """Return a line for each thing that a training needs and ``voc`` lacks."""
    lacks = []
    for name in ("JPEGImages", "Annotations", "SegmentationClass"):
        if not (voc / name).is_dir():
            lacks.append(f"{voc / name}/ is missing: it is in {VOC}, from {SOURCE[VOC]}")
    if not (voc / "SegmentationClassAug").is_dir():
        lacks.append(f"{voc / 'SegmentationClassAug'}/ is missing: it is made from {SBD}, from {SOURCE[SBD]}")
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL), ("train_aug", NUM_TRAIN_AUG)):
        path = voc / "ImageSets" / "Segmentation" / f"{split}.txt"
        found = len(path.read_text().split()) if path.is_file() else 0
        if found != count:
            lacks.append(f"{path} names {found} images, expected {count}")
    return lacks


def main(argv: list[str] | None = None) -> int:
    """Run the script; its exit status is 1 if something is missing or broken."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("archives", nargs="*", type=Path, help=f"{VOC} and {SBD}")
    parser.add_argument(
        "--out", type=Path, default=Path("data"), help="where VOCdevkit/ comes to lie (default: data)"
    )
    args = parser.parse_args(argv)
    voc = args.out / "VOCdevkit" / "VOC2012"
    try:
        archives = {path.name: path for path in args.archives}
        unknown = set(archives) - set(MD5)
        if unknown:
            raise ValueError(f"{unknown.pop()}: expected {VOC} or {SBD}")
        for name in (name for name in MD5 if name in archives):
            print(f"checking and unpacking {archives[name]}")
            check_archive(archives[name], md5=MD5[name])
            unpack(archives[name], args.out)
        sbd = args.out / "benchmark_RELEASE" / "dataset"
        if sbd.is_dir() and (voc / "SegmentationClass").is_dir():
            print(
                f"{convert_sbd(sbd, voc)} masks from SBD, {write_train_aug(sbd, voc)} images in train_aug.txt"
            )
    except (OSError, ValueError, tarfile.TarError) as error:
        print(f"prepare_voc12: error: {error}", file=sys.stderr)
        return 1
    lacks = missing(voc)
    print("\n".join(lacks) if lacks else f"{voc} is complete: --data.root {args.out / 'VOCdevkit'}")
    return 1 if lacks else 0


if __name__ == "__main__":
    sys.exit(main())
