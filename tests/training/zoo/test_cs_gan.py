from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from t2i.networks.translation import END, PAD, START, Memory, Translator
from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.data import parallel
from training.data.parallel import parallel_text
from training.errors import TrainingError
from training.prepare import sheet_of
from training.recipe import Batch, Recipe
from training.registry import Spec
from training.rollouts import policy_loss, rollout_rewards, sentence_bleu
from training.sheets import TokenSheet
from training.zoo.cs_gan import cs_gan

DATA = parallel_text(count=4)


def small(**knobs: Any) -> Recipe:
    torch.manual_seed(0)
    return cs_gan(spec_of(DATA), width=4, rollouts=2, **knobs)


def batch() -> Batch:
    assert DATA.sources is not None
    sources = torch.from_numpy(DATA.sources)
    return replace(batch_of(torch.from_numpy(DATA.samples)), sources=sources)


def translator() -> Translator:
    found = small().networks["generator"]
    assert isinstance(found, Translator)
    return found


def test_the_tokens_that_are_no_words_are_the_corpus_own() -> None:
    assert (PAD, START, END) == (parallel.PAD, parallel.START, parallel.END)


def test_each_phase_has_its_loss_and_its_gradient_in_its_player_alone() -> None:
    recipe, given = small(), batch()
    judged = []
    recipe.networks["discriminator"].register_forward_hook(
        lambda module, inputs, out: judged.append((inputs[1], out.detach()))
    )
    losses = losses_of(recipe, given)
    (true, real), (written, fake) = judged[:2]
    assert torch.equal(true, given.pictures) and not torch.equal(written, true)
    value = torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), -value)
    generator = recipe.networks["generator"]
    said = generator.logits(given.sources, given.pictures).log_softmax(2).detach()
    there = given.pictures != PAD
    chosen = said.gather(2, given.pictures[..., None]).squeeze(2)[there]
    torch.testing.assert_close(losses["likelihood"].total.detach(), -chosen.mean())


def test_the_reward_is_the_critics_above_its_base_and_bleu() -> None:
    given = batch()
    for share, base in ((1.0, 0.5), (0.0, 0.5), (0.7, 0.25)):
        recipe = small(critic_share=share, base=base)
        judge = recipe.networks["discriminator"]
        for weight in judge.parameters():
            torch.nn.init.zeros_(weight)
        # A critic that does not know says 1/2.
        torch.nn.init.constant_(judge.score.bias, 0.0)
        reward = recipe.phases[1].loss(recipe.networks, given).parts["G/reward"]
        generator = recipe.networks["generator"]
        assert isinstance(generator, Translator) and given.sources is not None
        chances = given.noise.uniform("policy", given.pictures.shape[1])
        written = generator.write(generator.read(given.sources), chances)
        expected = share * (0.5 - base) + (1 - share) * sentence_bleu(written, given.pictures)
        torch.testing.assert_close(reward, torch.as_tensor(expected).mean())


def test_a_word_is_worth_the_mean_of_the_sentences_after_it_the_last_its_own() -> None:
    writer, given = translator(), batch()
    assert given.sources is not None
    memory = writer.read(given.sources)
    written = writer.write(memory, given.noise.uniform("policy", writer.length))
    seen: list[torch.Tensor] = []

    def judge(sentences: torch.Tensor, times: int) -> torch.Tensor:
        seen.append(sentences)
        assert len(sentences) == 4 * times
        return sentences[:, -2:].sum(dim=1).float()

    rewards = rollout_rewards(writer, memory, written, judge, given.noise, rollouts=3)
    for place, sentences in enumerate(seen[:-1], start=1):
        begun = written.repeat_interleave(3, dim=0)[:, :place]
        assert torch.equal(sentences[:, :place], begun)
        mean = sentences[:, -2:].sum(dim=1).float().reshape(4, 3).mean(dim=1)
        torch.testing.assert_close(rewards[:, place - 1], mean)
    assert torch.equal(seen[-1], written)
    torch.testing.assert_close(rewards[:, -1], written[:, -2:].sum(dim=1).float())


def test_the_policy_gradient_raises_words_that_are_rewarded_and_lowers_punished_ones() -> None:
    logits = torch.zeros(1, 3, 4, requires_grad=True)
    written = torch.tensor([[3, END, PAD]])
    policy_loss(logits, written, torch.tensor([[2.0, -1.0, 50.0]])).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    uniform = torch.full((4,), 0.25)
    expected = torch.stack(
        [
            2.0 * (uniform - F.one_hot(torch.tensor(3), 4)),
            -1.0 * (uniform - F.one_hot(torch.tensor(END), 4)),
            torch.zeros(4),
        ]
    )
    torch.testing.assert_close(logits.grad[0], expected)


def test_the_mean_policy_gradient_is_that_of_the_expected_reward() -> None:
    # Words 3, 4, 5 with p = 1/2, 1/4, 1/4 and rewards 1, 0, -1, drawn as often as p says.
    p, reward = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([1.0, 0.0, -1.0])
    logits = torch.cat([torch.full((3,), -60.0), p.log()]).requires_grad_(True)
    words = torch.tensor([[3], [3], [4], [5]])
    loss = policy_loss(logits.expand(4, 1, 6), words, reward[words - 3])
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    # By hand: the slope of E R = 1/4 in each logit is p (R - E R).
    torch.testing.assert_close(-logits.grad[3:], p * (reward - 0.25))


def test_what_is_written_ends_once_and_is_followed_by_padding() -> None:
    writer, given = translator(), batch()
    assert given.sources is not None
    written = writer.write(writer.read(given.sources), given.noise.uniform("w", writer.length))
    for row in written.tolist():
        assert START not in row
        if END in row:
            assert set(row[row.index(END) + 1 :]) <= {PAD}
            assert PAD not in row[: row.index(END)]


def test_words_are_drawn_as_often_as_the_model_says() -> None:
    writer, given = translator(), batch()
    assert given.sources is not None
    memory = writer.read(given.sources[:1]).repeat(4000)
    first = writer.write(memory, torch.rand(4000, writer.length))[:, 0]
    logits = writer.logits(given.sources[:1], given.pictures[:1])[0, 0].detach()
    logits[: START + 1] = -torch.inf
    shares = torch.bincount(first, minlength=len(logits)) / 4000
    torch.testing.assert_close(shares, logits.softmax(0), atol=0.02, rtol=0)


def test_padding_of_the_source_is_not_attended_to() -> None:
    writer = translator()
    memory = Memory(torch.randn(1, 3, 4), torch.tensor([[False, True, True]]), torch.zeros(1, 4))
    _, _, context = writer.step(torch.tensor([START]), memory.hidden, torch.zeros(1, 4), memory)
    torch.testing.assert_close(context, memory.states[:, 0])


def test_bleu_of_a_sentence_is_one_for_the_reference_and_ignores_what_follows_the_end() -> None:
    true = torch.tensor([[3, 4, 5, 6, END, PAD]])
    assert sentence_bleu(true, true) == pytest.approx(1.0)
    assert sentence_bleu(torch.tensor([[3, 4, 5, 6, END, 9]]), true) == pytest.approx(1.0)
    assert 0 < sentence_bleu(torch.tensor([[3, 4, 9, 6, END, PAD]]), true) < 0.7


def test_stages_begin_in_turn_and_likelihood_never_ends() -> None:
    active = {
        phase.name: phase.active for phase in small(pretrain_kimg=2.0, critic_kimg=1.0).phases
    }
    assert active["likelihood"] is None
    critic, policy = active["discriminator"], active["policy"]
    assert critic is not None and policy is not None
    assert [critic(kimg) for kimg in (1.9, 2.0)] == [False, True]
    assert [policy(kimg) for kimg in (2.9, 3.0)] == [False, True]


def test_a_run_shows_translations_of_sentences_of_the_data(tmp_path: Any) -> None:
    sheet = sheet_of(small(), DATA)
    assert isinstance(sheet, TokenSheet)
    sheet.save(small().networks["generator"], tmp_path / "sheet.png")
    lines = (tmp_path / "sheet.txt").read_text().splitlines()
    assert lines and all(" " in line for line in lines)


def test_what_is_no_translation_is_refused() -> None:
    with pytest.raises(TrainingError, match="learns from tokens, and these are points"):
        cs_gan(spec_of(ring()))
    with pytest.raises(TrainingError, match="holds no sources"):
        cs_gan(Spec(0, sample_shape=(8,), kind="tokens", vocabulary=9))
