"""What is said in tests, and with whose voice. All of it is easy to hear, and has no numbers."""

MANDARIN = "今天的天气非常好，我们一起去公园散步吧。"
MANDARIN_TOO = "很高兴在这里见到你们大家。"
ENGLISH = "Please tell me when the next train to London leaves."
ENGLISH_LONG = (
    "The morning was quiet and the street was empty. An old man opened the door of his small shop and looked at the "
    "sky. He smiled, because the rain was over at last. Then he made a cup of tea and waited for his friends."
)
INSTRUCTION = "用开心的语气说"
SEED = 7

WOMAN = "中文女"
MAN = "中文男"
ENGLISH_WOMAN = "英文女"
ENGLISH_MAN = "英文男"
