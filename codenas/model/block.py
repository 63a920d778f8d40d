"""One layer: a mixer and a feed-forward network, each pre-normalised and with a residual connection."""

from torch import Tensor, nn

from codenas.arch.mixers import MixerSpec
from codenas.arch.spec import ArchSpec
from codenas.model.feedforward import FeedForward
from codenas.model.mixers import MixerState, build_mixer
from codenas.model.norms import build_norm
from codenas.model.positions import Positions


class Block(nn.Module):
    """x + mixer(norm(x)), then x + feedforward(norm(x)). Shape [batch, tokens, d_model] in and out."""

    def __init__(self, mixer: MixerSpec, arch: ArchSpec) -> None:
        super().__init__()
        self.mixer_norm = build_norm(arch.norm, arch.d_model)
        self.mixer = build_mixer(mixer, arch)
        self.feedforward_norm = build_norm(arch.norm, arch.d_model)
        self.feedforward = FeedForward(arch.feedforward, arch.d_model)
        self.dropout = nn.Dropout(arch.dropout)

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        x = x + self.dropout(self.mixer(self.mixer_norm(x), positions))
        return x + self.dropout(self.feedforward(self.feedforward_norm(x)))

    def extend(self, x: Tensor, state: MixerState, lengths: list[int]) -> Tensor:
        """The next tokens of the sequences in `state`; see `Mixer.extend`."""
        x = x + self.mixer.extend(self.mixer_norm(x), state, lengths)
        return x + self.feedforward(self.feedforward_norm(x))
