"""Tokens and a key with known answers, for the tests of the Teams bot."""

from __future__ import annotations

from typing import Any

APP_ID = "11111111-2222-3333-4444-555555555555"
SERVICE = "https://smba.trafficmanager.net/amer/"

_MODULUS = (
    "t4iZistY_7AsX2Iqwma6uqqedFnjRjc1LiAyMA_67TUtaffzHptQBnI6tuhIs7XdteZAwS0FAjQ7mfmQEDcji8H71z"
    "Ek81uW-ra0-oG4kW3wA8-z2HGWU1wh1QPuC8fIXym5kFLo7sug1ku0X7U_JebPfir_Slyx0uiGr0sQyYqPWXlVcjPF"
    "Nwvl8aKph-UrnQ5m6cOgOOiJgEvDHFGu_crlDXfYKSDnE9vghpuMXFhniQa9JiUBJ-SRdoQsVNNuCo7tdwloMfUthQ"
    "u9I1xcav7Z2qaEnZ-b01VTbpH5jglp4ssiCD0ghO9YXuLaH9WEdWDFzLK2wBAg8WkC6RupDw"
)
JWK: dict[str, Any] = {
    "kty": "RSA",
    "use": "sig",
    "kid": "rk-test-1",
    "x5t": "rk-test-1",
    "e": "AQAB",
    "endorsements": ["msteams"],
    "n": _MODULUS,
}
GOOD = (
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InJrLXRlc3QtMSIsInR5cCI6IkpXVCJ9.eyJzZXJ2aWNldXJsIjoiaHR0cHM6L"
    "y9zbWJhLnRyYWZmaWNtYW5hZ2VyLm5ldC9hbWVyLyIsIm5iZiI6MTczNTY4OTYwMCwiZXhwIjo0MTAyNDQ0ODAwLCJ"
    "pc3MiOiJodHRwczovL2FwaS5ib3RmcmFtZXdvcmsuY29tIiwiYXVkIjoiMTExMTExMTEtMjIyMi0zMzMzLTQ0NDQtN"
    "TU1NTU1NTU1NTU1In0.TX0lpfkZzOR_2RDHL0S16crtQFcQzlFt4NOLZ9-A2eNv5zF81J3mLOY6frHptn3myN7_SPO"
    "WaZLN85aViB0XqrqGgWO8-a13TAuTy8nWY-wRfl1puP21SlC_BU6_EXkVVfk7LzZiYM4gpZ4BkhU7Wb766ajXmzsNN"
    "wpCdcNUV0regdTdtGnx891ATE5sh9Z6O1F-YpOqFcFuTeJKLzSNQ-yK_xPEXBE_-l58b3dqRCE9dtldVLekhWVcQDe"
    "nW-lCYb6EW1yxSjrgOD4eO5Xz2y6gqZeFej-OUktz31vj_De2KQ4IeIzXOA7WwRQot6SQJqa1N4yshRqEn1e7OfntC"
    "g"
)
OTHER_ISSUER = (
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InJrLXRlc3QtMSIsInR5cCI6IkpXVCJ9.eyJzZXJ2aWNldXJsIjoiaHR0cHM6L"
    "y9zbWJhLnRyYWZmaWNtYW5hZ2VyLm5ldC9hbWVyLyIsIm5iZiI6MTczNTY4OTYwMCwiZXhwIjo0MTAyNDQ0ODAwLCJ"
    "pc3MiOiJodHRwczovL2V2aWwuZXhhbXBsZSIsImF1ZCI6IjExMTExMTExLTIyMjItMzMzMy00NDQ0LTU1NTU1NTU1N"
    "TU1NSJ9.V91EMpMeBrZvdVr4hxI2LXhdkovli1L-nlDruHgTbx6eTQan3YGNpitIHQGmTvFErbFWcslUfuv5sKF7WT"
    "mxBj1Ui2itbCL6zSrX7m3fxvxF2vsuK8P5_dxuD8BckzpH8SmU0EvqCIU2gs6tEN3IbgnITY_3kVm7iPT-TrX_WIZR"
    "v2PFjKThryynLoiHCaDelPYt25xWNv5P5gkEWqzOfFDmG3SaPvMn6s9rVZEnUi7iyr7sO6s28614XxrK5U4khS22Mg"
    "U1gCAMmp1jPjhb42trgPIDocJsuger22bTsDSxmnyKbftzeqKJCag-BJwi77VC8wEAqtBPzG2gdmdKjw"
)
