"""Model shapes by name, as fairseq `transformer` arguments.

What it owns: `PRESETS` and their parameter counts. Why: a recipe says `base`, not twelve numbers, and every
preset is one that CTranslate2 can convert (equal heads and equal normalize_before in encoder and decoder).
`base` and `big` are those of Vaswani et al. 2017, table 3.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A Transformer's shape; widths in units, depths in layers."""

    encoder_layers: int
    decoder_layers: int
    width: int
    ffn_width: int
    heads: int
    dropout: float

    def parameters(self, vocab_size: int) -> int:
        """Number of trained parameters with one shared, tied embedding of `vocab_size` rows."""
        attention = 4 * (self.width * self.width + self.width)
        ffn = 2 * self.width * self.ffn_width + self.ffn_width + self.width
        norm = 2 * self.width
        encoder = self.encoder_layers * (attention + ffn + 2 * norm)
        decoder = self.decoder_layers * (2 * attention + ffn + 3 * norm)
        return vocab_size * self.width + encoder + decoder

    def fairseq_args(self) -> list[str]:
        """The shape as arguments of `fairseq-train --arch transformer`."""
        sides = [("encoder", self.encoder_layers), ("decoder", self.decoder_layers)]
        args = ["--arch", "transformer", "--share-all-embeddings", "--dropout", str(self.dropout)]
        for side, layers in sides:
            args += [f"--{side}-layers", str(layers), f"--{side}-embed-dim", str(self.width)]
            args += [f"--{side}-ffn-embed-dim", str(self.ffn_width)]
            args += [f"--{side}-attention-heads", str(self.heads)]
        return args


PRESETS: dict[str, Preset] = {
    "pico": Preset(2, 1, 96, 384, 3, 0.1),
    "nano": Preset(2, 2, 128, 512, 4, 0.1),
    "micro": Preset(3, 2, 192, 768, 3, 0.1),
    "tiny": Preset(3, 2, 256, 1024, 4, 0.1),
    "small": Preset(6, 2, 256, 1024, 4, 0.1),
    "base": Preset(6, 6, 512, 2048, 8, 0.1),
    "base_deep_shallow": Preset(12, 2, 512, 2048, 8, 0.1),
    "big": Preset(6, 6, 1024, 4096, 16, 0.3),
}
