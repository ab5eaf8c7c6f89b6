"""Flower's templates with ours among them, and a tab for the page in Flower's navigation."""

from __future__ import annotations

from pathlib import Path

from tornado.template import Loader, Template

__all__ = ["PAGE_DIRECTORY", "PageTemplates"]

PAGE_DIRECTORY = Path(__file__).parent / "page"

NAVIGATION = "navbar.html"

END_OF_TABS = "</ul>"
"""The first list of the navigation holds Flower's tabs; the one for keys becomes its last."""

TAB = """
        <li class="nav-item">
          <a class="nav-link{% if active_tab == 'keys' %} active{% end %}" href="{{ reverse_url('keys') }}"
            {% if active_tab == 'keys' %}aria-current="page"{% end %}>Keys</a>
        </li>
      """


class PageTemplates(Loader):
    """Looks for templates here first. A navigation that looks different in another Flower stays without the tab."""

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        return name if (PAGE_DIRECTORY / name).is_file() else super().resolve_path(name, parent_path)

    def _create_template(self, name: str) -> Template:
        own = PAGE_DIRECTORY / name
        if own.is_file():
            return Template(own.read_bytes(), name=name, loader=self)
        if name == NAVIGATION:
            text = (Path(self.root) / name).read_text(encoding="utf-8")
            return Template(text.replace(END_OF_TABS, TAB + END_OF_TABS, 1), name=name, loader=self)
        return super()._create_template(name)
