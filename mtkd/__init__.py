"""mtkd: distil several domain-expert translation models into one student."""

__version__ = "0.1.0"
