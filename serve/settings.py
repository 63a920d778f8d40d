"""What an endpoint can be told."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from codenas.processes import MAX_THREADS

Precision = Literal["float32", "bfloat16", "float16"]


class ServeSettings(BaseModel):
    """One endpoint of one model. The bounds are on sequences: a request has as many as its prompts times `n`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: Path
    model_name: str = Field("codenas", min_length=1, max_length=200)
    host: str = Field("127.0.0.1", min_length=1, description="whoever reaches this address can use the endpoint")
    port: int = Field(8000, ge=1, le=65535)
    max_batch: int = Field(8, ge=1, le=1024, description="sequences that are decoded at a time")
    max_queue: int = Field(32, ge=1, description="sequences that may wait; one more is answered 429")
    threads: int = Field(1, ge=1, le=MAX_THREADS, description="threads of torch; small models gain nothing from more")
    api_key: SecretStr | None = None
    max_body_bytes: int = Field(4_000_000, ge=1_000)
    upload_seconds: float = Field(30.0, gt=0, description="a request that takes longer to arrive is answered 408")
    device: str = "cpu"
    precision: Precision = "float32"

    @property
    def url(self) -> str:
        """Where the endpoint answers."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"
