"""Words that mean nothing for the music: everyday ones, which people put into prompts."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["noise_words"]


def noise_words(captions: Iterable[str]) -> list[str]:
    """Everyday words that none of ``captions`` uses; those they use mean something."""
    used = {word.strip(",") for caption in captions for word in caption.split()}
    return [word for word in _EVERYDAY.split() if word not in used]


_EVERYDAY = """
    about above across after again against all almost along already also always among and
    animal another answer any apple around ask autumn away baby back bag ball bank beach bear
    bed before behind being below beside best better between big bird birthday black blue boat
    body book both box boy bread bridge bring brother brown build bus but buy by cake call can
    car castle cat chair change child city clean clear clock close cloud coffee cold color come
    cook corner could country cow create cup dance day deep desert dinner do dog door down dragon
    dream dress drink drive during each early earth east easy eat edge eight empty end enjoy
    enough evening ever every eye face fall family far farm feel few field fight film find fire
    first fish five fly follow food for forest forget four fox friend from full game garden get
    ghost giant gift girl give glass go gold good grass great green ground group grow half hand
    have he head hear heart help her here hero high hill him his hold home hope horse hospital
    hot hour house how hundred if imagine in inside into iron is island it job join journey jump
    keep key kind king kitchen knight know lake land large last late laugh learn leave left less
    let letter life like line listen little live long look lost love low make man many map market
    may me meet milk mind mirror moment money monkey moon more morning most mother mountain move
    movie much my name near need never new next nice night nine no north not nothing now number
    ocean of off office often old on once one only open or orange other our out outside over own
    page paper parents park party pass path people perhaps person phone picture place plane
    plant play please point possible prince princess put queen question quick rain read ready
    red remember rest rich ride right river road robot room run sad sand say school sea season
    second secret see seem send seven shadow she ship shoe shop short should show sign silver
    simple since sing sister sit six sky sleep small smile snow so some something soon sort south
    space speak spring stand star start station stay still stone stop storm story street strong
    student such summer sun sure swim table take talk tall teacher tell ten than thank that the
    their them then there these they thing think this those thousand three through time to today
    together tomorrow too town toy train travel tree try turn two under until up us use valley
    very village visit voice wait walk wall want warm was wash watch water way we wear weather
    week well were west what wheel when where which while white who whole why wild wind window
    winter wish with without wolf woman wonder wood word work world would write year yellow yes
    yesterday you young your zoo
"""
