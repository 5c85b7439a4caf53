import torch

import assemble


def test_voices_keep_their_embedding_and_get_the_prompt_of_their_name(tmp_path):
    torch.save(
        {"a": {"embedding": torch.ones(1, 2)}, "b": {"embedding": torch.zeros(1, 2)}}, tmp_path / "voices.spk.pt"
    )
    torch.save({"b": {"flow_prompt_speech_token": torch.ones(1, 3)}}, tmp_path / "voices.prompt.pt")
    voices = assemble.speakers(tmp_path, {"old": {}})
    assert list(voices) == ["a", "b"]
    assert list(voices["a"]) == ["embedding"]
    assert list(voices["b"]) == ["embedding", "flow_prompt_speech_token"]


def test_without_parts_the_voices_stay(tmp_path):
    assert assemble.speakers(tmp_path, {"old": {"embedding": 1}}) == {"old": {"embedding": 1}}
