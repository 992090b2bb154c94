"""The command `listen`: prints webhook deliveries as they come."""

import click

from ..webhooks import Delivery, WebhookReceiver
from .exits import Exit
from .options import json_option
from .output import Output, moment
from .work import Work, interruption, perform


@click.command("listen")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="0 for a free port.", show_default=True
)
@click.option("--host", default="127.0.0.1", help="The address to listen on.", show_default=True)
@click.option(
    "--public-url",
    metavar="URL",
    help="The URL at which vendors reach this port.  [default: its own address]",
)
@json_option
def listen(*, port: int, host: str, public_url: str | None, is_json: bool) -> Exit:
    """Receive webhooks until Ctrl-C, which exits with 0, and print the run, the status and the time of each.

    Prints a URL that cannot be guessed; deliveries to other URLs are refused. The content of a delivery is not
    verified: 'aioagents status REF' asks the vendor. Its body, which may hold personal data, is not printed.
    """
    out = Output(is_json=is_json)

    def print_delivery(delivery: Delivery) -> None:
        out.document(
            {
                "event": "delivery",
                "run_id": delivery.run_id,
                "status": delivery.status,
                "received_at": delivery.received_at,
                "is_repeated": delivery.is_repeated,
            }
        )
        again = "  again" if delivery.is_repeated else ""
        out.line(
            f"{moment(delivery.received_at)}  {delivery.run_id}  {delivery.status or 'no status'}{again}"
        )

    async def job() -> Exit:
        receiver = WebhookReceiver(public_url, on_delivery=print_delivery)
        async with receiver.serve(port=port, host=host):
            url = receiver.url_for()
            out.document({"event": "listening", "url": url})
            out.line(url)
            await interruption()
            seen = receiver.statistics()
            out.warn(f"{seen.accepted} deliveries, {seen.repeated} repeated, {seen.refused} refused")
        return Exit.OK

    return perform(Work(out), job)
