"""TEMPORARY by lead until the identity helper's lands: overwrite me."""
import json
def canonical(v: object) -> str: return json.dumps(v, sort_keys=True, default=str)
