"""Random everyday sentences (numbers, dates, names, places, requests), English and Mandarin, for text coverage."""

ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
ONES = ONES.split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fifteenth "
    "twentieth thirtieth"
)
ORDINALS = ORDINALS.split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NAMES = """James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Richard Susan Joseph
Jessica Thomas Sarah Charles Karen Daniel Lisa Matthew Nancy Anthony Betty Mark Sandra Emily Ashley Kevin Michelle Brian
Carol George Amanda Edward Melissa Stella Alice Peter Emma Oliver Sophia Lucas Grace Henry Chloe Jack Ella""".split()
CITIES = """London|Paris|New York|Tokyo|Berlin|Sydney|Chicago|Boston|Madrid|Rome|Beijing|Shanghai|Toronto|
Seattle|Houston|
Denver|Dublin|Oxford|Moscow|Cairo|Delhi|Singapore|San Francisco|Los Angeles""".replace("\n", "").split("|")
FOODS = """coffee|green tea|orange juice|pizza|chicken soup|fresh bread|chocolate cake|a sandwich|apple pie|rice|
salad|
fried fish|ice cream|breakfast|dinner|lunch|noodles|cheese|soup|a cup of tea|a glass of milk|sugar|eggs""".replace(
    "\n", ""
).split("|")
THINGS = """the book|my keys|your phone|the car|the report|a new jacket|the old camera|the kitchen table|her umbrella|
his computer|our tickets|the red bicycle|the letter|a glass of water|the window|the front door|my glasses|the music|
the garden|the guitar|a pair of shoes|the address|a blue shirt|the map""".replace("\n", "").split("|")
MOODS = (
    "happy tired busy ready late early hungry excited nervous surprised worried proud glad sorry sure afraid "
    "curious quiet careful patient"
)
MOODS = MOODS.split()
WEATHER = "sunny|cloudy|rainy|windy|cold|warm|hot|snowy|foggy|stormy".split("|")
PEOPLE = """my mother|my father|my sister|his uncle|her aunt|the doctor|the teacher|our neighbor|the manager|
my best friend|
the driver|the students|the children|the police officer|a young woman|an old man|the waiter|their cousin""".replace(
    "\n", ""
).split("|")
PLACES = """the park|the hospital|the museum|the airport|the station|the library|the office|the hotel|the beach|
the river|
the market|the school|the restaurant|the bridge|the village|the countryside|the mountains|the theater""".replace(
    "\n", ""
).split("|")
ACTIONS = """play football|read a book|wash the dishes|buy some bread|take a photo|watch a movie|cook dinner|
visit a friend|
learn English|write a letter|go swimming|clean the room|fix the computer|listen to music|catch the bus|
walk the dog|paint the wall|wait for the train""".replace("\n", "").split("|")
ENGLISH = """Hello {n}, how are you today?|Good morning, {n}. It is {w} in {c} today.
The weather in {c} will be {w} on {d}.
Please remind me to call {n} at {h} on {d}.|The train to {c} leaves at {h} from platform {k}.
Would you like some {f}, or do you prefer {f2}?|I would like to order {f} and {f2}, please.
Could you tell me where {t} is?|I left {t} at the office, so I am a little {a}.|My name is {n}, and I come from {c}.
The meeting has been moved to {d}, {m} {o}.|It costs {k} dollars and {k2} cents.|There are {k} people waiting outside.
The answer is {k}.|{n} and {n2} went to {c} last {d}.|Turn left at the corner, then walk {k} meters.|Are you {a}?
I am so {a} that I can hardly speak.|What time is it now? It is {h}.|Set an alarm for {h}, please.
We arrived in {c} at {h}, and it was very {w}.|Can you help {n} find {t}?|Thank you very much, {n}.
{n} bought {t} for {k} dollars.|I have been waiting for {n} since {h}.|Do you know when {n} will be back?
Your package will arrive on {d}, {m} {o}.|The population of {c} is about {k} million.|The temperature is {k} degrees.
My phone number is {g}.|Call me at {g}.|Chapter {k}.|Page {k}, line {k2}.|Sorry, I didn't hear what you said, {n}.
See you on {d}!|Where did you put {t}?|{n}, please pass me {t}.|How much does {f} cost in {c}?
I'll be there in {k} minutes.
Welcome to {c}!|Let's meet in front of the station at {h}.|If it is {w} tomorrow, we will stay at home and {v}.
She said that {n} was {a}, but I don't believe it.|He didn't want {f}, so he ordered {f2} instead.
Why are you so {a} today, {n}?|I can't find {t} anywhere.|It's {h} in {c} right now.|{p} wants to {v} before {h}.
{p} went to {l} with {p2} on {d}.|It took {k} minutes to get from {l} to {l2}.|Yesterday {p} forgot {t} at {l}.
Have you ever been to {l} near {c}?|We should {v} and then {v2}.|Don't forget to {v} when you are at {l}.
{p} is too {a} to {v}.|You can {v} at {l} until {h}.|{p} has lived in {c} for {k} years.|Why didn't {p} {v} last {d}?
There is {f} on the table next to {t}.|{p} asked {p2} to {v}.|I think {l} opens at {h} and closes at {h2}.
Would you rather {v} or {v2}?|{p} told me that {l} was closed in {m}.|Next {d} we are going to {v} with {n}.
If you {v} every day, you will be {a}.|More than {k} people came to {l} in {m}.
{n} said, I have never seen {t} before.
After dinner {p} likes to {v}.|Is {l} far from here? No, only {k} minutes by bus.
{n} will be {k} years old on {m} {o}."""
ENGLISH = ENGLISH.replace("\n", "|").split("|")

ZH_NUMBERS = "一 二 三 四 五 六 七 八 九 十 十一 十二 十五 二十 三十五 一百 两百 三千 一万".split()
ZH_CITIES = "北京 上海 广州 深圳 成都 杭州 西安 武汉 南京 重庆 香港 巴黎 伦敦 纽约".split()
ZH_THINGS = "书 手机 电脑 钥匙 雨伞 票 照片 礼物 杯子 自行车".split()
ZH_FOODS = "咖啡 绿茶 面条 米饭 饺子 水果 牛奶 面包 鱼汤 蛋糕".split()
ZH_WEATHER = "晴天 阴天 下雨 下雪 刮风 很冷 很热 非常好".split()
ZH_DAYS = "今天 明天 昨天 后天 星期一 星期二 星期三 星期五 周末 下个月 去年".split()
ZH_PEOPLE = "小明 小红 王老师 李先生 张阿姨 我的朋友 他的妈妈 爷爷 妹妹 同学们".split()
ZH_PLACES = "公园 学校 医院 超市 图书馆 火车站 办公室 饭店 机场 电影院".split()
ZH_ACTIONS = "看电影 跑步 买东西 学习中文 听音乐 做饭 打电话 看书 吃午饭 弹钢琴".split()
MANDARIN = """{d}{c}的天气怎么样？|{d}{c}{w}，我们一起去公园散步吧。|请问到{c}的火车几点出发？
我想要一杯{f}和一份{f2}。|{p}{d}去了{c}。
这本书要{n}块钱，太贵了。|我找不到我的{t}了，你看见了吗？|你好，我叫{p}，很高兴认识你。|现在是{n}点。
{p}正在{v}，已经学了{n}年了。
请问最近的地铁站怎么走？|希望你以后能够做得比我还好。|人工智能技术正在改变我们的日常生活。
{d}是{p}的生日，我们准备了{f}和{t}。|欢迎来到{c}，祝您旅途愉快。
对不起，我没有听清楚，请再说一遍。|{p}说{d}不能来开会。|从这里到{c}大概需要{n}个小时。|请把{t}放在桌子上。
谢谢{p}的帮助，我非常感动。
你喜欢喝{f}还是吃{f2}？|电话号码是{g}。|我们学校有{n}个学生。|如果{d}{w}，我就在家里看书。|{p}在{l}{v}。
{d}{p}想去{l}{v}。
{l}离这里有{n}公里。|他每天{n}点去{l}。|别忘了带{t}去{l}。|{p}和{p2}一起去{l}了。|因为{w}，所以{p}没有来。
你什么时候去{l}？|{p}的{t}在{l}丢了。"""
MANDARIN = MANDARIN.replace("\n", "|").split("|")


def number(rng):
    """A number in words."""
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(ONES)
    two_digits = rng.choice(TENS) + (" " + rng.choice(ONES[:9]) if rng.random() < 0.7 else "")
    if kind < 0.7:
        return two_digits
    joint = " and " if rng.random() < 0.5 else " "
    return (
        rng.choice(ONES[:9])
        + " "
        + rng.choice(["hundred", "thousand", "million"])
        + (joint + two_digits if rng.random() < 0.5 else "")
    )


def hour(rng):
    endings = ["o'clock", "thirty", "fifteen", "forty five", "ten", "twenty", "in the morning", "in the evening"]
    if rng.random() < 0.2:
        return rng.choice(["half past ", "a quarter past ", "a quarter to "]) + rng.choice(ONES[:12])
    return rng.choice(ONES[:12]) + " " + rng.choice(endings)


def english_template(rng):
    digits = [*ONES[:9], "zero"]
    return rng.choice(ENGLISH).format(
        n=rng.choice(NAMES),
        n2=rng.choice(NAMES),
        c=rng.choice(CITIES),
        d=rng.choice(DAYS),
        m=rng.choice(MONTHS),
        o=rng.choice(ORDINALS),
        k=number(rng),
        k2=number(rng),
        f=rng.choice(FOODS),
        f2=rng.choice(FOODS),
        t=rng.choice(THINGS),
        a=rng.choice(MOODS),
        w=rng.choice(WEATHER),
        h=hour(rng),
        h2=hour(rng),
        p=rng.choice(PEOPLE),
        p2=rng.choice(PEOPLE),
        l=rng.choice(PLACES),
        l2=rng.choice(PLACES),
        v=rng.choice(ACTIONS),
        v2=rng.choice(ACTIONS),
        g=" ".join(rng.choice(digits) for _ in range(rng.choice([4, 7]))),
    )


def mandarin_template(rng):
    digits = "".join(rng.choice("零一二三四五六七八九") for _ in range(rng.choice([4, 8, 11])))
    return rng.choice(MANDARIN).format(
        d=rng.choice(ZH_DAYS),
        c=rng.choice(ZH_CITIES),
        w=rng.choice(ZH_WEATHER),
        f=rng.choice(ZH_FOODS),
        f2=rng.choice(ZH_FOODS),
        p=rng.choice(ZH_PEOPLE),
        p2=rng.choice(ZH_PEOPLE),
        n=rng.choice(ZH_NUMBERS),
        t=rng.choice(ZH_THINGS),
        l=rng.choice(ZH_PLACES),
        v=rng.choice(ZH_ACTIONS),
        g=digits,
    )
