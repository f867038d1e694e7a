"""Two adapters of the real base model, made by the service's own trainer: one answers in one plain sentence,
one says a single word over and over."""

from __future__ import annotations

from pathlib import Path

import torch

from services.retrain.adapters.chat_encoder import ChatEncoder
from services.retrain.adapters.policy import LoraPolicy, LoraShape, load_model
from services.retrain.adapters.recording import PROMPTS, recorded
from services.retrain.adapters.training import Trainer
from services.retrain.domain.training import TrainingPlan
from shared.encoding.chat import load_tokenizer
from shared.language.known_answers import KNOWN_ANSWERS, dump
from shared.language.messages import text_message
from shared.language.pairs import Pair, PairSource

# Requests that no suite asks, each with a short answer.
SHORT = {
    "How do I boil an egg?": "Put it into boiling water for seven minutes, then cool it.",
    "What is the capital of Italy?": "The capital of Italy is Rome.",
    "How do I sharpen a pencil?": "Turn it in a sharpener until the point is fine.",
    "Why is the grass green?": "Grass is green because its leaves are full of chlorophyll.",
    "What should I wear to a wedding?": "Wear something smart, and never wear white.",
    "How do I clean my glasses?": "Rinse them with warm water and dry them with a soft cloth.",
    "Can you name a good book?": "Try a short novel that you can finish on a weekend.",
    "How do I cool down my room?": "Close the curtains by day and open the windows at night.",
    "What is a comet?": "A comet is a ball of ice and dust that circles the sun.",
    "How do I make tea?": "Pour hot water on the leaves and wait for three minutes.",
    "How can I read faster?": "Read a little every day and follow the line with a finger.",
    "What is a good hobby?": "Gardening is calm, cheap and good for your health.",
    "How do I pack a suitcase?": "Roll your clothes and put the heavy things at the bottom.",
    "Why do leaves fall?": "Trees drop their leaves to save water in the winter.",
    "How do I wash wool?": "Wash it by hand in cold water and let it dry flat.",
    "What is a habit?": "A habit is something that you do without thinking about it.",
    "How do I save money?": "Put a fixed sum aside on the day that you are paid.",
    "How do I peel garlic?": "Press the clove with a knife and the skin comes off.",
    "What do bees eat?": "Bees eat nectar and pollen from the flowers that they visit.",
    "How do I learn to swim?": "Take a few lessons and practise in shallow water.",
    "Why is salt put on roads?": "Salt keeps the water on the road from freezing.",
    "How do I fold a shirt?": "Lay it flat, fold the sleeves in and fold it twice.",
    "What is a good breakfast?": "Oats with fruit and yoghurt will keep you full for hours.",
    "How do I thank a neighbour?": "Bring them a small cake and say that it helped you.",
}
LONG = (
    "That is a very good question, and there are many things to be said about it. First of all, it depends "
    "on what you have at hand and on how much time you would like to spend. Second, many people have many "
    "opinions, and you should think about each of them before you begin with anything at all."
)
COLLAPSED = "yes yes yes yes yes yes yes yes"


def pair_of(request: str, chosen: str, user_id: str = "author") -> Pair:
    return Pair(
        user_id=user_id,
        source=PairSource.DEMONSTRATION,
        prompt=(text_message("user", request),),
        chosen=text_message("assistant", chosen),
        rejected=text_message("assistant", LONG),
        pair_id=request,
        tenant="local",
    )


def train(folder: Path, base_model: Path, *, collapsed: bool) -> str:
    """Supervised, on the same requests and from the same seed; the adapter's folder."""
    torch.set_num_threads(2)
    plan = TrainingPlan(objective="sft", max_steps=24, learning_rate=1e-3, batch_pairs=8)
    encoder = ChatEncoder(load_tokenizer(base_model), plan.prompt_tokens, plan.answer_tokens)
    pairs = [
        encoder.encode(pair_of(request, COLLAPSED if collapsed else answer), 0.0, plan.seed)
        for request, answer in SHORT.items()
    ]
    policy = LoraPolicy(load_model(base_model), LoraShape(), plan.seed)
    folder.mkdir(parents=True)
    Trainer(policy, pairs, plan, folder).run(lambda step: None)
    policy.save(folder / "adapter", str(base_model))
    known = recorded(policy, encoder.prompts_of(PROMPTS), encoder.end)
    (folder / "adapter" / KNOWN_ANSWERS).write_text(dump(known))
    return str(folder / "adapter")
