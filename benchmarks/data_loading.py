#!/usr/bin/env python
"""How fast do training samples come from our LMDB stores, and in how much memory?

Samples are HR patches of 96 pixels and their LR patches at x2, flipped and transposed,
from photographs of 2040 x 1356 pixels in the page cache. All sides run in turns, each
in a process of its own: mmagic's folder pipeline and BasicSR's LMDB of sub-images, as
their own configs have them, and our data sets with the pipeline of
configs/_base_/div2k.py. What no reader can beat is shown besides: copying the same
crops out of plain arrays in memory maps.

The photographs are mosaics of those that scikit-image and scikit-learn bring along;
`--photos` takes others, such as those of DIV2K.

Examples:
  python benchmarks/data_loading.py
  python benchmarks/data_loading.py --quick
  python benchmarks/data_loading.py --photos data/DIV2K/DIV2K_train_HR --images 100
"""

import argparse
import io
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

import numpy as np
from PIL import Image

from sr_plugins.datasets.lmdb_store import Cut, create_store, plan_store
from sr_plugins.preparation import crop_to_multiple, downscale, read_rgb
from sr_plugins.preparation.demo import BENCHMARK, TRAIN, VALID
from sr_plugins.preparation.images import list_images
from sr_plugins.preparation.pool import run_in_processes

REPOSITORY = Path(__file__).resolve().parents[1]
HR, LR = 'DIV2K/DIV2K_train_HR', 'DIV2K/DIV2K_train_LR_bicubic/X2'
# Folder, end of the names, and how sub-images are cut.
KINDS = ((HR, '', Cut(480, 240, 12)), (LR, 'x2', Cut(240, 120, 6)))
SCALE, PATCH, BATCH = 2, 96, 16
WIDTH, HEIGHT = 2040, 1356
# Of a mosaic. The photographs are to be larger than a tile, so that none is enlarged.
TILES_ACROSS, TILES_DOWN = 5, 4
# How many times as many images the larger store for the memory has.
MORE = 4
# Batches that come before the clock starts: those that were loaded ahead.
WARM_UP_BATCHES = 8
MIB = 2**20
MMAGIC, BASICSR, RAW = 'mmagic, folder', 'BasicSR, LMDB', 'ours, LMDB raw'
PNG, FOLDER, COPY = 'ours, LMDB png', 'ours, folder', 'plain copy'

Measure = Callable[[float], object]


def make_mosaic(number: int) -> np.ndarray:
    """Fill an image with parts of colour photographs, turned over but not resized."""
    height, width = HEIGHT // TILES_DOWN, WIDTH // TILES_ACROSS
    images = [read_rgb(photo.path()) for photo in (*TRAIN, *VALID, *BENCHMARK)]
    images = [
        image
        for image in images
        if image.shape[0] >= height
        and image.shape[1] >= width
        and (image[..., 0] != image[..., 1]).any()
    ]
    rng = np.random.default_rng(number)
    mosaic = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for row, column in itertools.product(range(TILES_DOWN), range(TILES_ACROSS)):
        image = images[rng.integers(len(images))]
        top = rng.integers(image.shape[0] - height + 1)
        left = rng.integers(image.shape[1] - width + 1)
        tile = image[top : top + height, left : left + width]
        tile = tile[:: rng.choice([1, -1]), :: rng.choice([1, -1])]
        at = slice(row * height, (row + 1) * height)
        mosaic[at, column * width : (column + 1) * width] = tile
    return mosaic


def make_photo(job: tuple[Path, int, Path | None]) -> None:
    """Write an HR image and its LR image in the forms that no store writes."""
    work, number, source = job
    hr = make_mosaic(number) if source is None else read_rgb(source)
    hr = crop_to_multiple(hr, SCALE)
    images = hr, downscale(hr, SCALE)
    name = f'{number:04d}'
    for (folder, suffix, cut), image in zip(KINDS, images, strict=True):
        path = work / 'full' / folder / f'{name}{suffix}.png'
        Image.fromarray(image).save(path)
        for count in range(MORE):
            link = work / 'more' / folder / f'{name}_{count}{suffix}.png'
            link.symlink_to(path)
        np.save(work / 'plain' / folder / f'{name}.npy', image)
        for part, window in enumerate(cut.windows(*image.shape[:2]), 1):
            path = work / 'basicsr' / folder / f'{name}_s{part:03d}.png'
            # BasicSR compresses anew.
            Image.fromarray(image[window]).save(path, compress_level=1)


def make_basicsr_lmdb(folder: Path) -> None:
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    names = sorted(path.name for path in folder.glob('*.png'))
    keys = [name.removesuffix('.png') for name in names]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        make_lmdb_from_imgs(str(folder), f'{folder}.lmdb', names, keys)


def make_data(work: Path, count: int, photos: Path | None) -> None:
    """Make all that the sides read, unless an earlier run has left it."""
    made = work / 'made.json'
    wanted = {'images': count, 'photos': photos and str(photos)}
    if made.exists() and json.loads(made.read_text()) == wanted:
        return
    if work.is_dir() and any(work.iterdir()):
        sys.exit(f'Expected {work} to be empty or of the same options. Remove it.')
    kinds = ('full', 'plain', 'more', 'basicsr')
    for kind, folder in itertools.product(kinds, (HR, LR)):
        (work / kind / folder).mkdir(parents=True)
    sources = [None] * count if photos is None else list_images(photos)[:count]
    if len(sources) < count:
        sys.exit(f'Expected {count} photographs in {photos}, but got {len(sources)}.')
    jobs = [(work, number, source) for number, source in enumerate(sources, 1)]
    workers = len(os.sched_getaffinity(0))
    for _, result in run_in_processes(make_photo, jobs, workers):
        result()
    for folder, suffix, cut in KINDS:
        for kind, source, layout, part in (
            ('full', 'full', 'raw', None),
            ('more', 'more', 'raw', None),
            ('sub', 'full', 'png', cut),
        ):
            store = work / kind / f'{folder}.lmdb'
            store.parent.mkdir(parents=True, exist_ok=True)
            plan = plan_store(work / source / folder, store, layout, suffix, part)
            report = create_store(plan, workers)
            if report.failed:
                sys.exit(str(report))
        make_basicsr_lmdb(work / 'basicsr' / folder)
    made.write_text(json.dumps(wanted))


def size_of(folder: Path) -> float:
    """Size of all files below `folder` in MiB; reads them into the page cache."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return sum(len(path.read_bytes()) for path in files) / MIB


# What the sides read.


def our_dataset(kind: str, root: Path):
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from sr_plugins.datasets import DIV2KLMDBDataset, PairedFolderDataset

    init_default_scope('mmagic')
    config = Config.fromfile(REPOSITORY / 'configs/_base_/div2k.py')
    pack = {'type': 'sr_plugins.PackImagePair', 'meta_keys': ['scale']}
    pipeline = [*config.train_pipeline[:-1], pack]
    cls = PairedFolderDataset if kind == 'folder' else DIV2KLMDBDataset
    return cls(SCALE, data_root=str(root), hr=HR, lr=LR, pipeline=pipeline)


def mmagic_dataset(root: Path):
    from mmagic.datasets import BasicImageDataset
    from mmengine.registry import init_default_scope

    init_default_scope('mmagic')
    pair = ['img', 'gt']
    return BasicImageDataset(
        data_root=str(root),
        data_prefix={'gt': HR, 'img': LR},
        filename_tmpl={'gt': '{}', 'img': f'{{}}x{SCALE}'},
        pipeline=[
            {'type': 'LoadImageFromFile', 'key': 'img'},
            {'type': 'LoadImageFromFile', 'key': 'gt'},
            {'type': 'SetValues', 'dictionary': {'scale': SCALE}},
            {'type': 'PairedRandomCrop', 'gt_patch_size': PATCH},
            {'type': 'Flip', 'keys': pair, 'direction': 'horizontal'},
            {'type': 'Flip', 'keys': pair, 'direction': 'vertical'},
            {'type': 'RandomTransposeHW', 'keys': pair},
            {'type': 'PackInputs'},
        ],
    )


def basicsr_dataset(root: Path):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    return PairedImageDataset(
        {
            'dataroot_gt': f'{root / HR}.lmdb',
            'dataroot_lq': f'{root / LR}.lmdb',
            'io_backend': {'type': 'lmdb'},
            'gt_size': PATCH,
            'use_hflip': True,
            'use_rot': True,
            'scale': SCALE,
            'phase': 'train',
        }
    )


def plain_copies(root: Path) -> Callable[[], object]:
    """Give a function that copies a crop out of memory maps, and does nothing else."""
    pairs = [
        tuple(np.load(root / folder / path.name, mmap_mode='r') for folder in (HR, LR))
        for path in sorted((root / HR).iterdir())
    ]
    rng = np.random.default_rng(0)
    crops = []
    for index in rng.integers(len(pairs), size=5000):
        hr, lr = map(np.asarray, pairs[index])
        top, left = (rng.integers(side - PATCH // 2 + 1) for side in lr.shape[:2])
        crops.append(
            [
                image[top * s : top * s + size, left * s : left * s + size]
                for image, s, size in ((hr, SCALE, PATCH), (lr, 1, PATCH // SCALE))
            ]
        )
    turn = itertools.cycle(crops)
    return lambda: [crop.copy() for crop in next(turn)]


def open_dataset(side: str, work: Path):
    if side == MMAGIC:
        return mmagic_dataset(work / 'full')
    if side == BASICSR:
        return basicsr_dataset(work / 'basicsr')
    kind = 'folder' if side == FOLDER else 'lmdb'
    return our_dataset(kind, work / ('sub' if side == PNG else 'full'))


def drawing(side: str, work: Path) -> Callable[[], object]:
    """Give a function that loads the next sample of a side, shuffled."""
    if side == COPY:
        return plain_copies(work / 'plain')
    dataset = open_dataset(side, work)
    indices = indices_for(side, dataset)
    return lambda: dataset[next(indices)]


def indices_for(side: str, dataset) -> Iterator[int]:
    """Shuffled indices without end; for ours those that the sampler gives."""
    if side in (RAW, PNG, FOLDER):
        from sr_plugins.datasets import ResumableSampler

        yield from ResumableSampler(dataset, seed=0)
    rng = np.random.default_rng(0)
    while True:
        yield from rng.permutation(len(dataset)).tolist()


# What is measured, each in a process of its own: called once, they give a function of
# the seconds that it may take.


def open_loop(side: str, work: Path) -> Measure:
    """Samples per second of `dataset[i]` in this process."""
    draw = drawing(side, work)

    def measure(seconds: float) -> float:
        draw()
        start, count, now = time.perf_counter(), 0, 0.0
        while now < start + seconds:
            draw()
            count, now = count + 1, time.perf_counter()
        return count / (now - start)

    return measure


def make_loader(side: str, dataset, workers: int, **options):
    from torch.utils.data import DataLoader

    if side == BASICSR:
        from basicsr.data.data_sampler import EnlargedSampler

        # So large that no epoch ends.
        sampler = EnlargedSampler(dataset, 1, 0, ratio=1000)
    else:
        from sr_plugins.datasets import ResumableSampler, stack_batch

        sampler = ResumableSampler(dataset, seed=0)
        options['collate_fn'] = stack_batch
    return DataLoader(
        dataset,
        BATCH,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=True,
        # Linux's own way, which a spawned process does not take by itself.
        multiprocessing_context='fork' if workers else None,
        **options,
    )


def open_loader(side: str, work: Path, workers: int) -> Measure:
    """Samples per second that a DataLoader gives in its steady state."""
    loader = make_loader(side, open_dataset(side, work), workers)
    batches = iter(loader)

    def measure(seconds: float) -> float:
        for _ in range(WARM_UP_BATCHES):
            next(batches)
        start, count, now = time.perf_counter(), 0, 0.0
        while now < start + seconds:
            next(batches)
            count, now = count + 1, time.perf_counter()
        # Until the workers have loaded ahead what they may, and leave the cores alone.
        ahead = workers * (loader.prefetch_factor or 0)
        time.sleep(2 * ahead * (now - start) / count)
        return count * BATCH / (now - start)

    return measure


def open_parts(work: Path) -> Measure:
    """Microseconds that each part of a sample of ours takes, by its name."""
    from sr_plugins.datasets import seeded, stack_batch

    dataset = open_dataset(RAW, work)
    indices = indices_for(RAW, dataset)
    load, crop, *augment, pack = dataset.pipeline.transforms
    size = crop.lr_patch_size
    times: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        times[name] += time.perf_counter() - start

    def read(results: list[dict], places: list, key: str, s: int) -> None:
        for result, (top, left) in zip(results, places, strict=True):
            rows = slice(top * s, (top + size) * s)
            columns = slice(left * s, (left + size) * s)
            result[key] = result[key][rows, columns].copy()

    def load_batch() -> None:
        with part('sampler'):
            batch = list(itertools.islice(indices, BATCH))
        with part('seeding'):
            for index in batch:
                with seeded(index):
                    pass
        with part('look-up and header'):
            results = [dataset.get_data_info(int(index)) for index in batch]
        with part('notes (LoadImagePair)'):
            results = [load(result) for result in results]
        with part('place of the crop'):
            places = [
                [np.random.randint(side - size + 1) for side in r['img'].shape[:2]]  # noqa: NPY002
                for r in results
            ]
        with part('HR: copy and checksums'):
            read(results, places, 'gt', SCALE)
        with part('LR: copy and checksums'):
            read(results, places, 'img', 1)
        with part('flips and transpose'):
            for transform in augment:
                results = [transform(result) for result in results]
        with part('packing'):
            results = [pack(result) for result in results]
        with part('collate'):
            stack_batch(results)

    def measure(seconds: float) -> dict[str, float]:
        load_batch()
        times.clear()
        start, count = time.perf_counter(), 0
        while not count or time.perf_counter() < start + seconds:
            load_batch()
            count += BATCH
        return {name: 1e6 * value / count for name, value in times.items()}

    return measure


def memory_of(process: 'int | str') -> tuple[float, float]:
    """Resident and private memory of a process in MiB."""
    rss = private = 0
    for line in Path(f'/proc/{process}/smaps_rollup').read_text().splitlines():
        name, *values = line.split()
        if name == 'Rss:':
            rss = int(values[0])
        elif name.startswith('Private_'):
            private += int(values[0])
    return rss / 1024, private / 1024


def worker_memory(root: Path, samples: int) -> dict[str, tuple[float, float]]:
    """Memory of a loader's worker before its first sample, and its peak."""
    start = get_context('fork').Array('d', 3)

    def note_start(_: int) -> None:
        start[:] = os.getpid(), *memory_of('self')

    dataset = our_dataset('lmdb', root)
    loader = make_loader(RAW, dataset, 1, worker_init_fn=note_start)
    peak = 0.0, 0.0
    for _ in itertools.islice(loader, samples // BATCH):
        peak = tuple(map(max, peak, memory_of(int(start[0]))))
    return {'resident': (start[1], peak[0]), 'private': (start[2], peak[1])}


def start_side(opener: Callable[..., Measure], *arguments: object) -> None:
    """Prepare a measurement in this process, for `measure_side`."""
    global measure_here
    measure_here = opener(*arguments)


def measure_side(seconds: float) -> object:
    return measure_here(seconds)


def take_turns(sides: dict[str, tuple], rounds: int, seconds: float) -> dict[str, list]:
    """Measure each side in each round, every other round in reverse.

    Each lives in a process of its own, which works only when it is its turn.
    """
    found = {name: [] for name in sides}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(
                ProcessPoolExecutor(1, get_context('spawn'), start_side, opener)
            )
            for name, opener in sides.items()
        }
        for number in range(-1, rounds):
            for name in list(sides)[:: -1 if number % 2 else 1]:
                # The round before the first warms up.
                length = seconds if number >= 0 else 0
                result = running[name].submit(measure_side, length).result()
                if number >= 0:
                    found[name].append(result)
    return found


def ratio(found: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Median over the rounds, in each of which both ran at about the same time."""
    return statistics.median(
        a / b for a, b in zip(found[ours], found[theirs], strict=True)
    )


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ['-' * width for width in widths])
    for line in lines:
        cells = [c.ljust(w) for c, w in zip(line, widths, strict=True)]
        print(f'| {" | ".join(cells)} |')
    print(flush=True)


def report_loop(work: Path, rounds: int, seconds: float) -> list[str]:
    """Compare one process each; give the claims."""
    sides = (MMAGIC, BASICSR, RAW, PNG, FOLDER, COPY)
    openers = {side: (open_loop, side, work) for side in sides}
    found = take_turns({**openers, 'parts': (open_parts, work)}, rounds, seconds)
    parts = found.pop('parts')
    medians = {side: statistics.median(rates) for side, rates in found.items()}
    rows = [
        [
            side,
            f'{medians[side]:.1f}',
            f'{min(found[side]):.1f} - {max(found[side]):.1f}',
            f'{1e6 / medians[side]:.0f}',
            f'{ratio(found, RAW, side):.2f}',
        ]
        for side in sides
    ]
    header = ['one process', 'samples/s', 'slowest - fastest', 'µs/sample']
    print_table([*header, f'{RAW} is faster by'], rows)
    times = {name: statistics.median(p[name] for p in parts) for name in parts[0]}
    rows = [[name, f'{value:.1f}'] for name, value in times.items()]
    rows.append(['sum', f'{sum(times.values()):.1f}'])
    rows.append(['of which a plain copy takes', f'{1e6 / medians[COPY]:.1f}'])
    print_table([f'parts of {RAW}', 'µs/sample'], rows)
    return [
        f'raw_vs_mmagic_folder {ratio(found, RAW, MMAGIC):.1f} (target >= 400)',
        f'raw_vs_basicsr_lmdb {ratio(found, RAW, BASICSR):.1f} (target >= 40)',
    ]


def report_loader(work: Path, rounds: int, seconds: float) -> list[str]:
    """Compare torch's DataLoader with and without workers; give the claims."""
    rows, claims = [], []
    for workers in (0, 2):
        sides = {side: (open_loader, side, work, workers) for side in (BASICSR, RAW)}
        # A batch is many samples.
        found = take_turns(sides, rounds, 2 * seconds)
        faster = ratio(found, RAW, BASICSR)
        claims.append(
            f'raw_loader_vs_basicsr_{workers}_workers {faster:.1f} (target >= 20)'
        )
        for side, rates in found.items():
            cells = [f'{min(rates):.0f} - {max(rates):.0f}']
            cells.append(f'{faster:.2f}' if side == BASICSR else '1.00')
            rows.append([str(workers), side, f'{statistics.median(rates):.0f}', *cells])
    header = ['workers', 'DataLoader', 'samples/s', 'slowest - fastest']
    print_table([*header, f'{RAW} is faster by'], rows)
    return claims


def report_memory(work: Path, samples: int) -> list[str]:
    """Show the memory of a worker with few and with many images; give the claim."""
    rows, most = [], 0.0
    for kind in ('full', 'more'):
        stores = [f'{work / kind / folder}.lmdb' for folder in (HR, LR)]
        size = sum(size_of(Path(store)) for store in stores)
        count = len(list((work / kind / HR).iterdir()))
        with ProcessPoolExecutor(1, get_context('spawn')) as process:
            memory = process.submit(worker_memory, work / kind, samples).result()
        for name, (before, after) in memory.items():
            numbers = [f'{n:.0f}' for n in (size, before, after, after - before)]
            rows.append([str(count), numbers[0], name, *numbers[1:]])
            most = max(most, after - before)
    header = ['images', 'stores, MiB', 'memory', 'at the start, MiB', 'peak', 'more']
    print(f'A worker that loads {samples} samples:\n')
    print_table(header, rows)
    return [f'worker_memory_mib {most:.0f} (target <= 100)']


def run(work: Path, args: argparse.Namespace) -> None:
    start = time.perf_counter()
    make_data(work, args.images, args.photos)
    sizes = {kind: size_of(work / kind) for kind in ('full', 'plain', 'sub', 'basicsr')}
    print(
        f'{args.images} photographs made in {time.perf_counter() - start:.0f} s; MiB: '
        + ', '.join(f'{kind} {size:.0f}' for kind, size in sizes.items())
        + '\n',
        flush=True,
    )
    claims = report_loop(work, args.rounds, args.seconds)
    claims += report_loader(work, args.rounds, args.seconds)
    claims += report_memory(work, 4000 if args.quick else 20_000)
    for claim in claims:
        print(f'claim: {claim}')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='few images, short rounds')
    parser.add_argument('--images', type=int, help='number of photographs (24)')
    parser.add_argument('--photos', type=Path, help='folder of others')
    parser.add_argument('--rounds', type=int, help='of all sides, alternating (9)')
    parser.add_argument('--seconds', type=float, help='of each side in a round (1.5)')
    parser.add_argument('--work', type=Path, help='keep the data here and reuse them')
    args = parser.parse_args()
    args.images = args.images or (8 if args.quick else 24)
    args.rounds = args.rounds or (3 if args.quick else 9)
    args.seconds = args.seconds or (0.7 if args.quick else 1.5)
    print(
        f'HR {PATCH} x {PATCH}, x{SCALE}, {len(os.sched_getaffinity(0))} cores, '
        f'load {os.getloadavg()[0]:.1f}',
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        run(args.work or Path(folder), args)


if __name__ == '__main__':
    main()
