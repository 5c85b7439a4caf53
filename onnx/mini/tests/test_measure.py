import measure


class Hears:
    """Judges that were told what they heard."""

    def __init__(self, texts):
        self.texts = texts

    def hear(self, pairs):
        heard = [(said, text) for (_, _, said), text in zip(pairs, self.texts, strict=True)]
        return Heard(heard)

    def sounds(self, text, language):
        return list(text) if language == "zh" else text.lower().split()


class Heard:
    def __init__(self, texts):
        self.texts, self.sound = texts, [int(a != b) for a, b in texts]

    def wrong(self):
        return [list(t) for t in self.texts if t[0] != t[1]]


class Silent:
    def streamed(self, path, route, fields):
        return path


def test_a_figure_is_right_where_it_stands_in_one_piece(monkeypatch, tmp_path):
    cases = (
        ("en", "It costs $5.", "it costs five dollars", "five dollars|5 bucks"),
        (
            "zh",
            "卖259元。",
            "卖二百五十九元",
            "二百五十九元",
        ),
    )
    monkeypatch.setattr(measure, "lines", lambda name: ["\t".join(case) for case in cases])
    report = measure.numbers(Silent(), Hears(["it cost five dollars", "买二百五九元"]), tmp_path, 0, 2)
    assert (report["figures right"], report["whole sentences"], report["of"]) == (1, 0, 2)
    assert report["wrong figures"] == [["二百五十九元", "买二百五九元"]]


def test_within():
    assert measure.within([2, 3], [1, 2, 3]) and measure.within([1], [1])
    assert not measure.within([1, 3], [1, 2, 3]) and not measure.within([1, 2], [1])
