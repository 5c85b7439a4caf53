"""Random sentences with figures as they are read aloud: dates, prices, times, percentages, heights, room numbers.

The server spells figures before the language model sees them, so these are spelt the same way: English by num2words
with its commas and hyphens, Mandarin by cn2an.
"""

ENGLISH = """My flight leaves at {clock} on {month} {ordinal}, {year}.|Lunch was {dollars} dollars and {cents} cents.
The company was founded in {year}.|We counted {count} {things} in the {place}.
Nearly {percent} percent of the {people} agreed.|Last night it was minus {small} degrees outside.
The {place} has a height of {count} meters.|It took her {small} point {digit} hours.
You are looking at the {ordinal} {thing}.|More than {large} {things} were sold in {year}.
It was {clock} on {month} {ordinal}.
In {year}, {percent} percent of the {people} lived here.|The price rose from {dollars} to {count} dollars.
Please go to room {room}.|My number is {digits}.|{large} {people} live in this city.|The bus leaves at {clock}.
On {month} {ordinal}, {year}, the {place} was closed.|It weighs {small} point {digit} kilograms.
Can you lend me {dollars} dollars?|The distance is {count} kilometers.|My uncle is {small} years old.
The answer is minus {small}.|Divide {count} by {small}.|Only {count} {things} are left.|Wake me up at {clock}."""
ENGLISH = ENGLISH.replace("\n", "|").split("|")
THINGS = "days|pages|chairs|windows|books|students|cars|houses|seats|words".split("|")
THING = "century|chapter|floor|lesson|time|day|question|game".split("|")
PLACES = "mountain|tower|library|station|hotel|bridge|school|museum".split("|")
PEOPLE = "students|people|workers|children|visitors|players|families".split("|")
MONTHS = "January February March April May June July August September October November December".split()

MANDARIN = """飞机在{year}年{month}月{day}日起飞。|午饭花了{count}元。|爷爷已经{small}岁了。
只有百分之{percent}的商店开门。
请{part}{hour}点{minute}分叫我起床。|那条河长{count}米。|昨天夜里是负{small}度。|她等了{digit}点{digit2}个小时。
这家工厂有{count}个工人。|请到{room}号房间来。|这所大学建于{year}年。|今天是{month}月{day}号。|一共{count}块钱。
从这里到机场有{small}公里。|电话是{digits}。|百分之{percent}的学生通过了考试。|这个城市有{large}人。|第{small}课在第{count}页。
他{year}年{month}月来到这里。|现在是{part}{hour}点{minute}分。|这本书有{count}页。|体重是{small}点{digit}公斤。
火车{hour}点{minute}分出发。|价格从{small}元涨到了{count}元。|气温是{small}度。|{small}加{small2}等于{sum}。|我住在{room}房间。
离考试还有{small}天。|他花了{count}元买了{small2}本书。|比赛在{month}月{day}日{part}{hour}点开始。|我们住在第{small}层。
那双鞋要{count}元。|一张票{count}元，两张便宜一点。|工资是{large}元。|那座塔有{count}米高。|村子在海拔{count}米的地方。
今天最低负{small}度，最高{small2}度。|外面只有零下{small}度。|水温从{small}度降到了{small2}度。|会议室在第{small}层，{room}号。
学校今年来了{count}名新生。|这里能坐{large}名观众。|他的办公室是{room}，在{small}楼。|她用{small}点{digit}秒跑完了。
降价百分之{percent}。|利率是百分之{digit}点{digit2}。|{year}年一共卖了{large}台。|每人{count}，四个人就是{large}。"""
MANDARIN = MANDARIN.replace("\n", "|").split("|")
PARTS = "上午 下午 早上 晚上 中午".split()
DIGITS = "零一二三四五六七八九"


def english_figures(rng):
    from num2words import num2words as say

    template = rng.choice(ENGLISH)
    minute = rng.choice([5, 10, 15, 20, 25, 30, 40, 45, 50, 12, 37, 58])
    clock = say(rng.randint(1, 12)) + " " + ("oh five" if minute == 5 else say(minute))
    values = {
        "clock": clock if rng.random() < 0.8 else clock.split()[0] + " o'clock",
        "month": rng.choice(MONTHS),
        "ordinal": say(rng.randint(1, 31), to="ordinal"),
        "year": say(rng.choice([rng.randint(1800, 1999), rng.randint(2000, 2035)]), to="year"),
        "dollars": say(rng.choice([rng.randint(2, 99), rng.randint(100, 999)])),
        "cents": say(rng.randint(2, 99)),
        "count": say(rng.choice([rng.randint(100, 999), rng.randint(1000, 9999), 100 * rng.randint(11, 99)])),
        "large": say(1000 * rng.randint(10, 9999)),
        "percent": say(rng.randint(2, 100)),
        "small": say(rng.randint(2, 99)),
        "digit": say(rng.randint(1, 9)),
        "room": " ".join(say(rng.randint(0, 9)) for _ in range(rng.choice([3, 4]))),
        "digits": " ".join(say(rng.randint(0, 9)) for _ in range(rng.choice([4, 7, 8]))),
        "things": rng.choice(THINGS),
        "thing": rng.choice(THING),
        "place": rng.choice(PLACES),
        "people": rng.choice(PEOPLE),
    }
    text = template.format(**values)
    return text[0].upper() + text[1:]


def mandarin_figures(rng):
    import cn2an

    def say(n):
        text = cn2an.an2cn(n)
        if text.startswith("一十"):
            text = text[1:]
        return text.replace("二百", "两百").replace("二千", "两千") if rng.random() < 0.3 else text

    def spell(n):
        return "".join(DIGITS[int(c)] for c in str(n))

    small, small2 = rng.randint(1, 99), rng.randint(1, 99)
    return rng.choice(MANDARIN).format(
        year=spell(rng.choice([rng.randint(1900, 1999), rng.randint(2000, 2035)])),
        month=say(rng.randint(1, 12)),
        day=say(rng.randint(1, 31)),
        count=say(rng.choice([rng.randint(100, 999), rng.randint(1000, 9999), 100 * rng.randint(11, 99)])),
        large=say(rng.choice([10000 * rng.randint(1, 999), rng.randint(10000, 999999)])),
        percent=say(rng.randint(1, 100)),
        small=say(small),
        small2=say(small2),
        sum=say(small + small2),
        digit=say(rng.randint(1, 9)),
        digit2=say(rng.randint(1, 9)),
        hour=say(rng.randint(1, 12)).replace("二", "两") if rng.random() < 0.1 else say(rng.randint(1, 12)),
        minute=say(rng.choice([5, 10, 15, 20, 25, 30, 40, 45, 50, 12, 37, 58])),
        room=spell(rng.randint(101, 2999)),
        digits="".join(rng.choice(DIGITS) for _ in range(rng.choice([4, 8, 11]))),
        part=rng.choice(PARTS),
    )
