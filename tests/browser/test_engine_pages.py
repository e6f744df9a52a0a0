"""A page on disk, under the book's policy, draws with the networks and answers meanwhile."""

import shutil
from collections.abc import Iterator

import pytest
from check_pages import Watch

import eamlab as el
from eamlab_book.network_file import engine_scripts
from eamlab_book.sphinxext.policy import META
from eamlab_book.widgets.widget import script_folder

pytestmark = pytest.mark.browser

COMPOSE = """
async (people) => {
  const { engine, networks } = eamlab;
  const [global, local] = [engine.load(networks.global), engine.load(networks.local)];
  let [turns, told] = [0, 0];
  const timer = setInterval(() => { turns += 1; }, 1);
  const options = { progress: () => { told += 1; } };
  const summaries = await engine.run(engine.summarize(global, people), options);
  const groups = await engine.run(engine.prepare(global, summaries), options);
  const work = engine.gaussianComposition(groups, { draws: 50, seed: 1 });
  const { values } = await engine.run(work, options);
  const own = await engine.run(engine.people(local, values, people, { seed: 2 }), options);
  clearInterval(timer);
  const listed = (found) => Object.fromEntries(
    Object.entries(found).map(([name, draws]) => [name, Array.from(draws)]));
  return { turns, told, group: listed(values), people: listed(own) };
}"""


@pytest.fixture
def page(chromium, tmp_path) -> Iterator:
    """An empty page on disk with the networks; nothing else can be reached."""
    shutil.copytree(script_folder(), tmp_path / "js")
    names = engine_scripts("global", "local")
    scripts = "".join(f'<script src="js/{name}"></script>' for name in names)
    head = f'<meta charset="utf-8">{META}<title>p</title>'
    html = f'<!doctype html><html lang="en">{head}<body>{scripts}'
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    watch = Watch((tmp_path.as_uri(),))
    context = chromium.new_context()
    watch.guard(context)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    yield page
    context.close()
    assert watch.remote == [] and watch.errors == []


def test_a_page_on_disk_composes_a_study_and_answers_meanwhile(page):
    study = el.simulate(el.EAM, 10, n_trials=60, seed=3)
    people = [trials.ravel().tolist() for trials in study.by_subject]
    found = page.evaluate(COMPOSE, people)
    assert found["told"] > 10 and found["turns"] > 10
    assert tuple(found["group"]) == el.EAM.prior.names
    draws = el.Draws(found["group"])
    for name, truth in study.group.items():
        if name in draws:  # true in all cases but 1 in 10,000
            assert abs(draws.mean[name] - truth) < 4.5 * draws.sd[name], name
    assert tuple(found["people"]) == el.EAM.person_names
    assert all(len(values) == 50 * len(study) for values in found["people"].values())
