"""Every command of the documentation runs, on tiny data and for few iterations."""

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import golden
import pytest
import torch
from skimage import data as photographs

from sr_plugins.preparation.images import write_png

ROOT = Path(__file__).parents[1]
# In the order in which a user reads them: testing takes what training made.
PAGES = [
    ROOT / 'README.md',
    *(ROOT / f'docs/{p}.md' for p in ('installing', 'data', 'lmdb', 'training')),
    ROOT / 'docs/testing.md',
    ROOT / 'docs/weights.md',
    ROOT / 'docs/inference.md',
    ROOT / 'docs/csnln.md',
    ROOT / 'docs/ops.md',
    ROOT / 'docs/car.md',
    ROOT / 'docs/search.md',
    ROOT / 'docs/export.md',
    ROOT / 'docs/int8.md',
    ROOT / 'docs/basicsr.md',
]
# What runs elsewhere.
COVERED = {
    'make': '.ci/run and every user',
    'source': 'the shell',
    'PIP_CONSTRAINT=constraints.txt pip': '`make`, with the same but for -e',
    'python -m sr_plugins.doctor': 'tests/test_doctor.py',
    'python -m sr_plugins.ops.build': 'tests/ops',
    'python tools/prepare_data.py div2k --download': (
        'tests/preparation/test_download.py'
    ),
    'tools/dist_infer': 'tests/tools/test_infer.py',
    'tools/dist_': 'tests/engine/test_distributed.py',
    'NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 PORT=29500 tools/dist_': 'the same',
    'GPUS=16 GPUS_PER_NODE=8 tools/slurm_train.sh': 'the same',
}
SHRINK = [
    '--cfg-options',
    'global_batch_size=1',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'train_dataloader.dataset.pipeline.1.lr_patch_size=6',
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
]
SHRINK_SEARCH = [
    *SHRINK[:5],
    'train_cfg.epochs=1',
    'train_cfg.epoch_length=1',
    'custom_hooks.0.policy.num_generation=1',
    'custom_hooks.0.policy.num_individual=2',
]
SHRINK_BASICSR = [
    '--cfg-options',
    'datasets.train.batch_size_per_gpu=1',
    'datasets.train.num_worker_per_gpu=0',
    'datasets.train.lr_patch_size=6',
    'train.total_iter=2',
    'logger.save_checkpoint_freq=2',
    'logger.use_tb_logger=False',
]


def blocks(language):
    for page in PAGES:
        pattern = rf'^```{language}\n(.*?)^```'
        for match in re.finditer(pattern, page.read_text(), re.DOTALL | re.MULTILINE):
            yield page, match[1]


def commands():
    for page, block in blocks('bash'):
        for line in block.replace('\\\n', ' ').splitlines():
            yield page, line.strip()


RUN_HERE = [
    (page, line)
    for page, line in commands()
    if not any(line.startswith(start) for start in COVERED)
]


@pytest.fixture(scope='module')
def sandbox(tiny_data, tmp_path_factory):
    """A folder with all that the documentation takes for granted."""
    folder = tmp_path_factory.mktemp('user')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    (folder / 'tools').symlink_to(ROOT / 'tools')
    (folder / 'benchmarks').symlink_to(ROOT / 'benchmarks')
    tiny = tiny_data / 'benchmark/Tiny'
    shutil.copytree(tiny_data / 'DIV2K', folder / 'data/DIV2K')
    for name in ('Set5', 'Set14'):
        shutil.copytree(tiny, folder / 'data/benchmark' / name)
    # CSNLN at full size takes seconds for each image: one of a set will do.
    for path in (folder / 'data').rglob('*.png'):
        if path.name.startswith(('photo1', 'photo2', '0802')):
            path.unlink()
    shutil.copytree(tiny / 'HR', folder / 'Set5')
    for part in ('train', 'valid'):
        name = f'DIV2K_{part}_HR'
        shutil.copytree(tiny_data / 'DIV2K' / name, folder / name)
    photo = photographs.astronaut()[:20, :24]
    write_png(folder / 'photo.png', photo, origin='test')
    (folder / 'photos').mkdir()
    write_png(folder / 'photos' / 'photo.png', photo, origin='test')
    for split, number in (('train', 1), ('test', 802)):
        part = 'valid' if split == 'test' else 'train'
        source = tiny_data / f'DIV2K/DIV2K_{part}_HR/{number:04d}.png'
        for kind in ('blur', 'sharp'):
            place = folder / 'GOPRO_Large' / split / 'GOPR0001' / kind
            place.mkdir(parents=True)
            shutil.copy(source, place / '000001.png')
    torch.save(golden.state_dict('edsr_usn_x2'), folder / 'edsr_x2-0edfb8a3.pt')
    torch.save(golden.state_dict('csnln_x2_d12'), folder / 'csnln_x2.pth')
    (folder / 'models' / '2x').mkdir(parents=True)
    for file, name in {'kgn.pth': 'kgn_x2', 'usn.pth': 'edsr_usn_x2'}.items():
        torch.save(golden.state_dict(name), folder / 'models' / '2x' / file)
    return folder


@pytest.fixture
def at_home(sandbox, monkeypatch):
    monkeypatch.chdir(sandbox)
    monkeypatch.setattr('os.fsync', lambda file: None)  # for speed
    # Tools that are run inside this process share its path.
    monkeypatch.setattr(sys, 'path', list(sys.path))
    return sandbox


@pytest.mark.parametrize(
    ('page', 'line'),
    RUN_HERE,
    ids=[f'{p.name}-{i}' for i, (p, _) in enumerate(RUN_HERE)],
)
def test_command(at_home, page, line, monkeypatch):
    """In the order of the pages: a test uses what training left."""
    words = shlex.split(line)
    if '--compile' in words and ' ' in torch.__file__:
        pytest.skip("torch.compile fails where torch's own path has a space")
    assert words[0] == 'python', line
    monkeypatch.setattr(sys, 'argv', [*words[1:]])
    if words[1] == 'tools/train.py':
        if words[2].endswith('.yml'):
            sys.argv += SHRINK_BASICSR
        else:
            sys.argv += SHRINK_SEARCH if 'search' in words[2] else SHRINK
    for name in ('demo_edsr_x2', 'csnln_x2', 'demo_car_x2'):
        # What `make demo` and a finished training leave.
        best = Path('work_dirs', name, 'best.pth')
        if str(best) in words and not best.exists():
            pytest.fail(f'{page.name} uses {best} before anything made it')
    assert not _exit_code(words[1])


def _exit_code(tool):
    try:
        runpy.run_path(tool, run_name='__main__')
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.mark.parametrize(
    ('page', 'block'),
    [(p, b) for p, b in blocks('python') if 'import' in b],
    ids=lambda value: getattr(value, 'name', ''),
)
def test_python_block(at_home, page, block):
    exec(compile(block, str(page), 'exec'), {})


def test_every_page_is_read():
    assert set(PAGES[1:]) == set((ROOT / 'docs').glob('*.md'))


def test_pictures_and_pages_exist():
    for page in PAGES:
        for target in re.findall(r'\]\((?!https?:)([^)#]+)', page.read_text()):
            assert (page.parent / target).exists(), f'{page.name}: {target}'


def test_options_in_tables_exist():
    """Every option that a page names is one of a tool's."""
    known = set()
    others = [
        ROOT / 'sr_plugins' / name
        for name in ('ops/build.py', 'export/options.py', 'engine/cli.py')
    ]
    for tool in (*(ROOT / 'tools').glob('*.py'), *others):
        known |= set(re.findall(r"'(--[a-z0-9-]+)'", tool.read_text()))
    for page in PAGES:
        for option in re.findall(r'(?<![\w-])--[a-z][a-z0-9-]+', page.read_text()):
            assert option in known, f'{page.name}: {option}'
