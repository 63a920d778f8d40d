"""Settings of an endpoint."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from codenas.processes import MAX_THREADS

Precision = Literal["float32", "bfloat16", "float16"]


class ServeSettings(BaseModel):
    """One endpoint of one model. Limits count sequences: a request has its number of prompts times `n`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: Path
    model_name: str = Field("codenas", min_length=1, max_length=200)
    host: str = Field("127.0.0.1", min_length=1, description="everyone who can reach this address can use the endpoint")
    port: int = Field(8000, ge=1, le=65535)
    max_batch: int = Field(8, ge=1, le=1024, description="sequences decoded in one batch")
    max_queue: int = Field(32, ge=1, description="maximum number of waiting sequences; further requests get 429")
    threads: int = Field(1, ge=1, le=MAX_THREADS, description="threads of torch; small models gain nothing from more than one")
    api_key: SecretStr | None = None
    max_body_bytes: int = Field(4_000_000, ge=1_000)
    upload_seconds: float = Field(30.0, gt=0, description="a request that takes longer to arrive gets 408")
    device: str = "cpu"
    precision: Precision = "float32"

    @property
    def url(self) -> str:
        """The URL of the endpoint."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"
