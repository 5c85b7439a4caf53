"""gRPC by grpcio, with stubs made from the committed proto file and by the server's own description of itself."""

import sys
import threading

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc
from support.running import ROOT
from support.sound import pcm_at
from support.words import ENGLISH, ENGLISH_LONG, ENGLISH_WOMAN, INSTRUCTION, MANDARIN, MANDARIN_TOO, SEED, WOMAN

SERVICE = "cosyvoice.CosyVoice"
PROMPT_RATE = 16_000


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def proto(tmp_path_factory):
    """The modules that protoc writes: (messages, stubs)."""
    out = tmp_path_factory.mktemp("stubs")
    source = ROOT / "openapi"
    arguments = [f"-I{source}", f"--python_out={out}", f"--grpc_python_out={out}", str(source / "cosyvoice.proto")]
    assert protoc.main(["protoc", *arguments]) == 0
    sys.path.insert(0, str(out))
    import cosyvoice_pb2
    import cosyvoice_pb2_grpc

    yield cosyvoice_pb2, cosyvoice_pb2_grpc
    sys.path.remove(str(out))


@pytest.fixture(scope="module")
def pb(proto):
    return proto[0]


@pytest.fixture(scope="module")
def stub(proto, channel):
    return proto[1].CosyVoiceStub(channel)


@pytest.fixture(scope="module")
def prompt(recording):
    return pcm_at(recording, PROMPT_RATE)


def rate_of(call):
    return int(dict(call.initial_metadata())["x-sample-rate"])


def infer(stub, request, **options):
    """(samples, their rate) of a whole call."""
    call = stub.Inference(request, timeout=180, **options)
    samples = b"".join(answer.tts_audio for answer in call)
    return samples, rate_of(call)


def refusal(stub, request, **options):
    """The error of a call that must fail."""
    with pytest.raises(grpc.RpcError) as error:
        infer(stub, request, **options)
    return error.value


def sft(pb, text, voice):
    return pb.Request(sft_request=pb.sftRequest(tts_text=text, spk_id=voice), seed=SEED)


def test_sft(stub, pb, ear):
    samples, rate = infer(stub, sft(pb, MANDARIN, WOMAN))
    ear.expect(MANDARIN, samples, rate=rate)


def test_the_first_answer_names_rate_and_seed(stub, pb):
    call = stub.Inference(sft(pb, "你好。", WOMAN), timeout=180)
    answers = list(call)
    assert (answers[0].sample_rate, answers[0].seed) == (rate_of(call), SEED)
    assert dict(call.initial_metadata())["x-seed"] == str(SEED)
    assert all(len(answer.tts_audio) % 2 == 0 for answer in answers)


def test_zero_shot(stub, pb, ear, prompt):
    zero_shot = pb.zeroshotRequest(tts_text=MANDARIN_TOO, prompt_text=MANDARIN, prompt_audio=prompt)
    samples, rate = infer(stub, pb.Request(zero_shot_request=zero_shot, seed=SEED))
    ear.expect(MANDARIN_TOO, samples, rate=rate)


def test_cross_lingual(stub, pb, ear, prompt):
    cross_lingual = pb.crosslingualRequest(tts_text=ENGLISH, prompt_audio=prompt)
    samples, rate = infer(stub, pb.Request(cross_lingual_request=cross_lingual, seed=SEED))
    ear.expect(ENGLISH, samples, "en", rate)


@pytest.mark.parametrize("by_recording", [False, True])
def test_instruct(stub, pb, ear, prompt, by_recording):
    who = {"prompt_audio": prompt} if by_recording else {"spk_id": WOMAN}
    instruct = pb.instructRequest(tts_text=MANDARIN, instruct_text=INSTRUCTION, **who)
    samples, rate = infer(stub, pb.Request(instruct_request=instruct, seed=SEED))
    ear.expect(MANDARIN, samples, rate=rate)


def test_voices(stub, pb):
    voices = stub.ListVoices(pb.ListVoicesRequest(), timeout=60).voices
    assert WOMAN in [voice.spk_id for voice in voices if voice.built_in]


def test_live_text_is_spoken(stub, pb, ear):
    """Text in pieces, as something writes it; the same words come out."""

    def text():
        yield pb.LiveRequest(start=pb.LiveStart(request=sft(pb, "", ENGLISH_WOMAN)))
        for word in ENGLISH_LONG.split(" "):
            yield pb.LiveRequest(text=word + " ")
        yield pb.LiveRequest(end=pb.LiveEnd())

    answers = list(stub.Live(text(), timeout=180))
    kinds = [answer.WhichOneof("event") for answer in answers]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("started", "done", {"tts_audio"})
    samples = b"".join(answer.tts_audio for answer in answers)
    ear.expect(ENGLISH_LONG, samples, "en", answers[0].started.sample_rate)
    assert answers[-1].done.seconds == pytest.approx(len(samples) / 2 / answers[0].started.sample_rate, abs=0.1)


def test_live_speech_is_cancelled(stub, pb, ear):
    """After `cancelled` there is no more audio of it, and the next utterance is whole."""
    speaking, cancelled = threading.Event(), threading.Event()

    def text():
        begin = pb.LiveStart(request=sft(pb, "", ENGLISH_WOMAN), ahead=0.2)
        yield pb.LiveRequest(start=begin)
        yield pb.LiveRequest(text=ENGLISH_LONG)
        assert speaking.wait(120)
        yield pb.LiveRequest(cancel=pb.LiveCancel())
        assert cancelled.wait(120)
        yield pb.LiveRequest(start=pb.LiveStart(request=sft(pb, "", ENGLISH_WOMAN)))
        yield pb.LiveRequest(text=ENGLISH)
        yield pb.LiveRequest(end=pb.LiveEnd())

    kinds, samples, rate = [], b"", 0
    for answer in stub.Live(text(), timeout=180):
        kind = answer.WhichOneof("event")
        kinds.append(kind)
        if kind == "started":
            rate, samples = answer.started.sample_rate, b""
        elif kind == "tts_audio":
            samples += answer.tts_audio
            speaking.set()
        elif kind == "cancelled":
            assert len(samples) < 2 * rate * 8, "most of it is never sent"
            cancelled.set()
    assert kinds[kinds.index("cancelled") + 1] == "started"
    assert kinds[-1] == "done"
    ear.expect(ENGLISH, samples, "en", rate)


def test_a_deadline_is_kept(stub, pb):
    request = sft(pb, ENGLISH_LONG * 20, ENGLISH_WOMAN)
    with pytest.raises(grpc.RpcError) as error:
        list(stub.Inference(request, timeout=1.5))
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_cancelled_call_ends_the_speech(server, stub, pb):
    call = stub.Inference(sft(pb, ENGLISH_LONG * 20, ENGLISH_WOMAN), timeout=180)
    next(call)
    request_id = dict(call.initial_metadata())["x-request-id"]
    call.cancel()
    with pytest.raises(grpc.RpcError) as error:
        list(call)
    assert error.value.code() == grpc.StatusCode.CANCELLED
    server.wait_for_log(request_id, "cancelled: nobody listens any more")


def test_what_is_wrong_has_its_code(stub, pb):
    code = grpc.StatusCode
    for request, status, words in [
        (pb.Request(), code.INVALID_ARGUMENT, ""),
        (sft(pb, "", WOMAN), code.INVALID_ARGUMENT, "tts_text"),
        (sft(pb, "你好。", "nobody"), code.NOT_FOUND, "nobody"),
        (pb.Request(sft_request=sft(pb, "你好。", WOMAN).sft_request, speed=9), code.INVALID_ARGUMENT, "speed"),
        (
            pb.Request(cross_lingual_request=pb.crosslingualRequest(tts_text="你好。", prompt_audio=b"odd")),
            code.INVALID_ARGUMENT,
            "prompt_audio",
        ),
    ]:
        error = refusal(stub, request)
        assert error.code() == status and words in error.details(), (request, error)


def test_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", SERVICE):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service


def test_a_client_can_learn_the_service_from_the_server(channel, ear):
    """Without the proto file: messages and method as reflection describes them."""
    described = ProtoReflectionDescriptorDatabase(channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(described.get_services())
    method = DescriptorPool(described).FindServiceByName(SERVICE).FindMethodByName("Inference")
    call = channel.unary_stream(
        f"/{SERVICE}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    request = GetMessageClass(method.input_type)(sft_request={"spk_id": WOMAN, "tts_text": MANDARIN}, seed=SEED)
    answers = list(call(request, timeout=180))
    samples = b"".join(answer.tts_audio for answer in answers)
    ear.expect(MANDARIN, samples, rate=answers[0].sample_rate)
