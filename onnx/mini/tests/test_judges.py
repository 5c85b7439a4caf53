from judges import chinese, english


def spoken(text):
    return " ".join(english(text).split())


def test_english_figures_are_spelt_as_one_says_them():
    assert spoken("$45.50") == "forty five dollars and fifty cents"
    assert spoken("at 9:15 on March 3, 1987") == "at nine fifteen on March third , nineteen eighty seven"
    assert spoken("25% of 1,200,000") == "twenty five percent of one million two hundred thousand"
    assert spoken("the 21st of 365") == "the twenty first of three hundred and sixty five"
    assert spoken("-5 degrees, 3.5 hours") == "minus five degrees, three point five hours"


def test_chinese_figures_become_characters():
    assert chinese("2024年3月5日") == "二零二四年三月五日"
    assert chinese("8848米，30%") == "八千八百四十八米，百分之三十"
    assert chinese("1508号，-5度") == "一五零八号，负五度"
    assert chinese("两百元") == chinese("兩百元") == "二百元"
