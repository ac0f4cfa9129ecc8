"""The HTTP face: the hot route for images (`app`), the rare routes (`routes`), reading and answering."""
