"""The host's tools on a simulated host."""

from twinsock.kernel.kernel import Kernel
from twinsock.runtime.port import TwinPort
from twinsock.ui.ss_options import parse
from twinsock.ui.ss_run import View, fill
from twinsock.ui.ss_sheet import Sheet


def ss(kernel: Kernel, arguments: list[str]) -> str:
    """Give what `ss` prints for a host, with its arguments."""
    options = parse(arguments)
    view = View(TwinPort(kernel, kernel.tasks[0]), options)
    if options.has("processes"):
        view.owners = view.port.owners()
    sheet = Sheet(netid=len(options.tables) > 1, state=True, header=True)
    fill(sheet, view, 0)
    return "".join(sheet.texts())
