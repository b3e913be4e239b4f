"""The parts of `examples/demo.py`: servers, clients, gates and the closing report."""
