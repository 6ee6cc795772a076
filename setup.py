"""Puts `configs` into the installed package; all else is in setup.cfg."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=['sr_plugins*']),
        'sr_plugins.configs',
        'sr_plugins.configs._base_',
        'sr_plugins.configs.basicsr',
        'sr_plugins.configs.basicsr._base_',
    ],
    package_dir={'sr_plugins.configs': 'configs'},
)
