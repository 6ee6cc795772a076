"""A data set of photographs that scikit-image and scikit-learn bring along.

Small, but it needs no download. No scene is in two of the three parts: the two views
of the motorcycle are both for training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .folders import FIRST_VALID_NUMBER, benchmark_jobs, div2k_jobs
from .images import write_text
from .runner import Report, run_jobs

BENCHMARK_NAME = 'Demo'


@dataclass(frozen=True)
class Photo:
    """A photograph in an installed package.

    Attributes:
        package: Name of the package.
        file: Path inside the package.
        rights: Author and terms, as the package states them.
    """

    package: str
    file: str
    rights: str

    @property
    def name(self) -> str:
        """Give the name without folder and suffix."""
        return Path(self.file).stem

    def path(self) -> Path:
        """Find the file without importing the package, which takes seconds.

        Raises:
            ModuleNotFoundError: The package is not installed.
            FileNotFoundError: Its installed version has no such file.
        """
        spec = find_spec(self.package)
        if spec is None:
            raise ModuleNotFoundError(
                f'The demo photographs come with {self.package}, which is not '
                'installed. Run `pip install scikit-image scikit-learn`.',
                name=self.package,
            )
        path = Path(spec.submodule_search_locations[0], self.file)
        if not path.exists():
            raise FileNotFoundError(
                f'Expected {self.package} to bring {self.file}, but the installed '
                f'version has no {path}. Install another version of it.'
            )
        return path


def _skimage(file: str, rights: str) -> Photo:
    return Photo('skimage', f'data/{file}', rights)


def _sklearn(file: str, rights: str) -> Photo:
    return Photo('sklearn', f'datasets/images/{file}', rights)


TRAIN = (
    _sklearn('china.jpg', 'danielbuechele, CC BY 2.0'),
    _sklearn('flower.jpg', 'vultilion, CC BY 2.0'),
    _skimage('rocket.jpg', 'SpaceX, public domain'),
    _skimage('motorcycle_left.png', 'Middlebury stereo data 2014, Scharstein et al.'),
    _skimage('motorcycle_right.png', 'Middlebury stereo data 2014, Scharstein et al.'),
    _skimage('brick.png', 'CC0Textures, CC0'),
    _skimage('grass.png', 'linolafett, CC0'),
    _skimage('gravel.png', 'CC0Textures, CC0'),
    _skimage('ihc.png', 'no known copyright restrictions'),
    _skimage('camera.png', 'Lav Varshney, CC0'),
)
VALID = (_skimage('coffee.png', 'Rachel Michetti, CC0'),)
BENCHMARK = (
    _skimage('astronaut.png', 'NASA, public domain'),
    _skimage('chelsea.png', 'Stefan van der Walt, CC0'),
)


def prepare_demo(
    out: Path, scales: Sequence[int] = (2, 3, 4), workers: int = 1
) -> Report:
    """Lay out the demo photographs as `out`/DIV2K and `out`/benchmark/Demo.

    `out`/README.md says where each comes from.

    Args:
        out: The folder of the data set.
        scales: The integer factors to shrink by.
        workers: Number of processes.

    Raises:
        ModuleNotFoundError: scikit-image or scikit-learn is not installed.
        FileNotFoundError: An installed version lacks a photograph.
        ValueError: A scale is no integer above 1.
    """
    named = {
        'train': [(f'{i:04d}', photo) for i, photo in enumerate(TRAIN, 1)],
        'valid': [
            (f'{i:04d}', photo) for i, photo in enumerate(VALID, FIRST_VALID_NUMBER)
        ],
        'benchmark': [(photo.name, photo) for photo in BENCHMARK],
    }
    paths = {
        part: [(name, photo.path()) for name, photo in photos]
        for part, photos in named.items()
    }
    div2k = out / 'DIV2K'
    benchmark = out / 'benchmark' / BENCHMARK_NAME
    jobs = [
        *div2k_jobs(div2k, 'train', paths['train'], scales),
        *div2k_jobs(div2k, 'valid', paths['valid'], scales),
        *benchmark_jobs(benchmark, paths['benchmark'], scales),
    ]
    report = run_jobs(jobs, workers, 'demo')
    write_text(out / 'README.md', _readme(named))
    report.notes.insert(
        0,
        f'{len(TRAIN)} training and {len(VALID)} validation photographs in {div2k}, '
        f'{len(BENCHMARK)} for testing in {benchmark}.',
    )
    return report


def _readme(named: dict[str, list[tuple[str, Photo]]]) -> str:
    rows = [
        f'| {part} | {name}.png | {photo.package}/{photo.file} | {photo.rights} |'
        for part, photos in named.items()
        for name, photo in photos
    ]
    return '\n'.join(
        [
            '# Demo photographs',
            '',
            'Copies of photographs that scikit-image (`skimage`) and scikit-learn',
            '(`sklearn`) bring along, with their MATLAB-bicubic low-resolution',
            'partners. The terms are those that the packages state.',
            '',
            '| part | file | from | author and terms |',
            '|---|---|---|---|',
            *rows,
            '',
        ]
    )
