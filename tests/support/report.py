"""Reads a multipart/report on standard input with Python's email package and prints it as JSON."""
import email
import email.policy
import json
import sys

message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = list(message.iter_parts())


def fields(block):
    return {name.lower(): str(value) for name, value in block.items()}


def blocks(part):
    """The field groups of a delivery-status part, whichever of its two types it has."""
    if part.get_content_type() == "message/delivery-status":
        return [fields(block) for block in part.get_payload()]
    text = part.get_payload(decode=True) or part.get_payload()[0].as_bytes(policy=email.policy.default)
    groups = text.decode("utf-8").replace("\r\n", "\n").strip().split("\n\n")
    return [fields(email.message_from_string(group, policy=email.policy.default)) for group in groups]


def defects(part):
    found = [type(defect).__name__ for defect in part.defects]
    for inner in part.iter_parts() if part.is_multipart() and part.get_content_maintype() == "multipart" else []:
        found += defects(inner)
    return found


status = blocks(parts[1])
original = parts[2]
if original.get_content_type().startswith("message/") and original.is_multipart():
    returned = original.get_payload()[0].as_bytes()
else:
    returned = original.get_payload(decode=True)
print(
    json.dumps(
        {
            "header": fields(message),
            "kind": message.get_content_type(),
            "report_type": message.get_param("report-type"),
            "parts": [part.get_content_type() for part in parts],
            "text": parts[0].get_content(),
            "message": status[0],
            "recipients": status[1:],
            "encoding": str(original.get("content-transfer-encoding", "")),
            "original": returned.decode("utf-8", "replace"),
            "defects": defects(message),
        }
    )
)
