"""Objects that can be imported, subclassed and used as decorators, but not used."""

from abc import ABCMeta
from typing import Any, NoReturn

__all__ = ['InertType', 'inert']


class InertType(ABCMeta):
    """The type of inert classes, and of upstream's classes derived from them.

    An inert class stands for a module, a class or a function alike: its attributes
    are inert classes again. It derives from ABCMeta because upstream mixes inert
    bases with abstract ones.
    """

    # Set while the placeholders' owner is imported: decorators and module-level calls
    # of inert functions then pass, later they raise.
    importing = False

    def __getattr__(cls, name: str) -> Any:
        path = cls.__dict__.get('_inert_path')
        if path is None or name.startswith('__'):
            raise AttributeError(f'type object {cls.__name__!r} has no {name!r}')
        child = inert(f'{path}.{name}', cls.__dict__['_inert_remedy'])
        type.__setattr__(cls, name, child)
        return child

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if '_inert_path' not in cls.__dict__:
            return super().__call__(*args, **kwargs)
        if not InertType.importing:
            cls._inert_refuse()
        # `@register_to_config` must leave what it decorates alone.
        return args[0] if len(args) == 1 and callable(args[0]) else cls

    def __bool__(cls) -> bool:
        # `if is_xformers_available():` shall not believe that it is.
        return '_inert_path' not in cls.__dict__

    def __dir__(cls) -> list[str]:
        return [] if '_inert_path' in cls.__dict__ else super().__dir__()


def _refuse(cls: type) -> NoReturn:
    for base in cls.__mro__:
        path = base.__dict__.get('_inert_path')
        if path is not None:
            raise ImportError(
                f'Expected `{path}` to be usable with mmagic, but got a placeholder. '
                f'{base.__dict__["_inert_remedy"]}'
            )
    raise TypeError(f'{cls!r} is not inert')


def _refuse_instance(self: object, *args: object, **kwargs: object) -> NoReturn:
    _refuse(type(self))


def inert(path: str, remedy: str) -> InertType:
    """Make the inert object called `path`; using it raises and names `remedy`."""
    return InertType(
        path.rpartition('.')[2],
        (),
        {
            '__module__': path.rpartition('.')[0] or path,
            '__init__': _refuse_instance,
            '_inert_path': path,
            '_inert_remedy': remedy,
            '_inert_refuse': classmethod(_refuse),
        },
    )
