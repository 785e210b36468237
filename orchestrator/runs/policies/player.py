"""Plays this folder's policy, its likeliest actions; needs torch alone. In and out: policy.json, and its `use`."""

import json
import re
from pathlib import Path
from zlib import crc32

import torch
from torch.nn.functional import adaptive_avg_pool2d, conv2d, interpolate, linear


class Player:
    def __init__(self, folder=Path(__file__).parent):
        self.about, self.w = json.loads((Path(folder) / "policy.json").read_text(encoding="utf-8")), {}
        file = memoryview(bytearray((Path(folder) / "policy.safetensors").read_bytes()))
        start = 8 + int.from_bytes(file[:8], "little")
        for name, one in json.loads(bytes(file[8:start])).items():
            part = file[start:][slice(*one["data_offsets"])]
            self.w[name] = torch.frombuffer(part, dtype=torch.float32).view(one["shape"])
        self.of = lambda name: (self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def begin(self, text=None):  # An episode. Where policy.json names a sentence model, `text` is its embedding.
        asked, self.seen, self.read = self.about["instruction"], [], torch.zeros(0)
        if asked and asked["sentence_model"]:
            self.read = linear(torch.as_tensor(text).float(), *self.of("instruction.projection")).relu()
        elif asked:
            words = re.findall(r"[^\W_]+|[^\w\s]", text.lower())
            if not 0 < len(words) <= asked["length"]:
                raise ValueError(f"{text!r} has {len(words)} words; 1 to {asked['length']} can be read")
            known, ids = asked["words"], asked.get("hashed_ids")  # Of words that were not known beforehand: a hash.
            if ids:
                ids = [1 + crc32(word.encode()) % (ids - 1) for word in words]
            else:
                ids = [known.index(word) + 2 if word in known else 1 for word in words]
            hidden = self.w["instruction.words.weight"][ids] + self.w["instruction.places"][: len(ids)]
            size = hidden.shape[1]
            reader = torch.nn.TransformerEncoderLayer(size, 4, 2 * size, 0.0, batch_first=True, norm_first=True)
            reader.load_state_dict({n[18:]: w for n, w in self.w.items() if n.startswith("instruction.layer.")})
            self.read = reader.eval().requires_grad_(False)(hidden[None])[0].mean(0)

    def act(self, observation):  # A vector; or [number of the action], and of its object where there are any.
        seen, actions = self.see(torch.as_tensor(observation), **self.about["observation"]), self.about["actions"]
        self.seen = [*(self.seen or [seen] * self.about["history"])[1:], seen]
        hidden = torch.cat([*self.seen, self.read])
        for name in self.about["layers"]:
            hidden = linear(hidden, *self.of(name)).relu()
        outs = [linear(hidden, *self.of(name)) for name in self.about["heads"]]
        if actions["kind"] == "continuous":
            low, high = torch.tensor([actions["low"], actions["high"]], dtype=torch.float64)
            return (low + (outs[0].tanh().double() / actions["edge"] + 1) / 2 * (high - low)).clamp(low, high).float()
        return [int(out.argmax()) for out in outs]

    def see(self, seen, kind, shape, offsets=(), strides=(), cells=(), **_):
        if kind == "vector":
            hidden = (seen.float() - self.w["observation.shift"]) * self.w["observation.scale"]
            if "observation.linear.weight" not in self.w:
                return hidden
            scale, shift = linear(self.read, *self.of("observation.modulation.linear")).chunk(2)
            return (linear(hidden, *self.of("observation.linear")) * (1 + scale) + shift).relu()
        if kind == "image":  # Larger pictures are averaged over areas.
            hidden = interpolate(seen.permute(2, 0, 1)[None].float(), shape[:2], mode="area")[0].round() / 255
        else:
            hidden = self.w["observation.cells.weight"][seen.long() + torch.tensor(offsets)].sum(-2).permute(2, 0, 1)
        for number, stride in enumerate(strides):
            scale, shift = linear(self.read, *self.of(f"observation.modulations.{number}.linear")).view(2, -1, 1, 1)
            made = conv2d(hidden, *self.of(f"observation.convolutions.{number}"), stride, 1)
            made = (made * (1 + scale) + shift).relu()
            hidden = made if kind == "image" else hidden + made
        return conv2d(adaptive_avg_pool2d(hidden, cells), *self.of("observation.reduction")).relu().flatten()
