"""Networks that take finished parts; sizes only in keyword-only builders."""
