"""What sslyze found wrong, a line each: findings.py FILE.json. Nothing is good news."""

import json
import sys

with open(sys.argv[1]) as file:
    scan = json.load(file)["server_scan_results"][0]
assert scan["scan_status"] == "COMPLETED", scan["connectivity_error_trace"]
scan = scan["scan_result"]


def result(name):
    assert scan[name]["status"] == "COMPLETED", name
    return scan[name]["result"]


for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
    if result(f"{version}_cipher_suites")["accepted_cipher_suites"]:
        print(f"{version} is taken")
for version in ("tls_1_2", "tls_1_3"):
    suites = [one["cipher_suite"]["name"] for one in result(f"{version}_cipher_suites")["accepted_cipher_suites"]]
    if not suites:
        print(f"{version} is not taken")
    for suite in suites:
        if not ("GCM" in suite or "POLY1305" in suite) or not ("ECDHE" in suite or version == "tls_1_3"):
            print(f"{version}: {suite}")
for plugin, key, wanted in (
    ("heartbleed", "is_vulnerable_to_heartbleed", False),
    ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", False),
    ("tls_compression", "supports_compression", False),
    ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", False),
    ("session_renegotiation", "supports_secure_renegotiation", True),
    ("tls_extended_master_secret", "supports_ems_extension", True),
    ("tls_fallback_scsv", "supports_fallback_scsv", True),
    ("robot", "robot_result", "NOT_VULNERABLE_RSA_NOT_SUPPORTED"),
):
    if result(plugin)[key] != wanted:
        print(f"{plugin}: {key} is {result(plugin)[key]}")
